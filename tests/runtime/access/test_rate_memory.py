"""The memory that processes share: made once, never cut under somebody."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.access.rate_memory import ADDRESSES, KEYS, open_rate_memory
from runtime.access.rates import PLACE_BYTES, Buckets, Limit

# In small steps, so that who is held up within a change has only a few to take back.
_TAKER = """
import sys, time
from pathlib import Path
from runtime.access.rate_memory import open_rate_memory
from runtime.access.rates import Buckets, Limit
memory = open_rate_memory(Path(sys.argv[1]))
limited = Buckets(Limit("key", 1, 1000), memory.keys, memory.secret)
taken = 0
for _ in range(100):
    taken += sum(limited.take(b"a", 5000.0) >= 0 for _ in range(20))
    time.sleep(0.002)
print(taken)
"""


def test_who_opens_it_later_has_the_same(tmp_path: Path) -> None:
    one, two = open_rate_memory(tmp_path / "run"), open_rate_memory(tmp_path / "run")
    assert one.secret == two.secret != bytes(32)
    one.keys[5] = 7
    one.addresses[-1] = 9
    assert (two.keys[5], two.addresses[-1]) == (7, 9)
    assert (len(one.keys), len(one.addresses)) == (KEYS * PLACE_BYTES, ADDRESSES * PLACE_BYTES)
    file = tmp_path / "run" / "rates"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_blocks * 512 >= file.stat().st_size, "a full disk would kill the writer"


@pytest.mark.parametrize("content", [b"", b"something else", b"track-rates-1\n\0\0"])
def test_a_file_that_is_not_ours_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rates").write_bytes(content)
    memory = open_rate_memory(tmp_path)
    memory.addresses[0] = 1
    assert open_rate_memory(tmp_path).addresses[0] == 1


def test_whoever_has_the_old_file_keeps_it(tmp_path: Path) -> None:
    memory = open_rate_memory(tmp_path)
    (tmp_path / "rates").unlink()
    other = open_rate_memory(tmp_path)
    memory.keys[0] = 1
    assert (memory.keys[0], other.keys[0]) == (1, 0)
    assert memory.secret != other.secret


def test_processes_hold_one_limit_together(tmp_path: Path) -> None:
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", _TAKER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    taken = [int(taker.communicate(timeout=30)[0]) for taker in takers]
    # They do nothing else here, so some changes are lost; each for itself would take 1,000.
    assert 1000 <= sum(taken) < 1700
    memory = open_rate_memory(tmp_path)
    assert Buckets(Limit("key", 1, 1000), memory.keys, memory.secret).take(b"a", 5000.0) < 0
