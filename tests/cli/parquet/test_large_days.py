"""A day of millions of events there and back, in memory that does not grow with it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from tests.cli.parquet.events import RUN_TRACK, Tables, day_before

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
ROWS = 4_000_000
MOST_CLIENT_KB = 160_000
MOST_SERVER_BYTES = 1_000_000_000
DAY = day_before(1)

_FILL = """
INSERT INTO events SELECT
    lower(hex(sipHash128(number))), 'user-' || toString(intHash32(number) % 50000),
    ['play', 'stop', 'pause'][number % 3 + 1], at - toIntervalSecond(number % 100), at,
    CAST('{"song_id":"s-' || toString(intHash32(number) % 5000) || '","position":'
        || toString(number % 300) || if(number % 2 = 0, '.0', '.5') || ',"n":'
        || toString(number) || '}', 'JSON(max_dynamic_paths = 32)'),
    'web', number, number % 4, intDiv(number, 4)
FROM (
    SELECT number, toDateTime64({day:String}, 3, 'UTC') + toIntervalMillisecond(number % 86400000)
        AS at FROM numbers({rows:UInt64})
)
"""
_DIGEST = """
SELECT count(), groupBitXor(cityHash64(event_id, user_id, event, timestamp, received_at,
    metadata.song_id.:String, metadata.position.:Float64, metadata.n.:Int64, source, log_offset,
    kafka_partition, kafka_offset)) FROM {table:Identifier}
"""
# Prints the most memory that the command ever had. (What getrusage calls so has that of the process
# that started it, too.)
_MEASURED = f"""
import atexit, pathlib
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print("KB", status.read_text().split("VmHWM:")[1].split()[0]))
{RUN_TRACK}
"""


def digest(tables: Tables, table: str) -> list[object]:
    return list(tables.clickhouse.query(_DIGEST, parameters={"table": table}).first_row)


def fill(tables: Tables, day: date) -> None:
    settings = {"max_insert_block_size": 250_000, "max_threads": 1}
    parameters = {"day": f"{day} 00:00:00", "rows": ROWS}
    tables.clickhouse.command(_FILL, parameters=parameters, settings=settings)


def run(tables: Tables, *arguments: str) -> float:
    """Run a command, look at its memory and the server's; return its rows a second."""
    before, highest = time.monotonic(), 0
    command = [sys.executable, "-c", _MEASURED, *arguments]
    process = subprocess.Popen(command, env=tables.environment(), stdout=subprocess.PIPE, text=True)
    used = "SELECT max(memory_usage) FROM system.processes WHERE current_database = {name:String}"
    while process.poll() is None:
        found = tables.clickhouse.query(used, parameters={"name": tables.settings.namespace})
        highest = max(highest, found.first_row[0])
        time.sleep(0.1)
    took_s = time.monotonic() - before
    assert process.returncode == 0
    assert process.stdout is not None
    with process.stdout:
        kilobytes = re.search(r"^KB (\d+)$", process.stdout.read(), re.MULTILINE)
    assert kilobytes is not None
    print(
        f"{arguments[0]}: {ROWS / took_s:,.0f} rows/s, command {int(kilobytes[1]):,} KB, "
        f"query {highest:,} bytes"
    )
    assert int(kilobytes[1]) < MOST_CLIENT_KB
    assert highest < MOST_SERVER_BYTES
    return ROWS / took_s


def test_a_large_day_takes_no_more_memory(tables: Tables, tmp_path: Path) -> None:
    fill(tables, DAY)
    before = digest(tables, "events")
    assert before[0] == ROWS
    run(tables, "export", "--to", str(tmp_path))
    tables.forget_events()
    run(tables, "import", str(tmp_path))
    assert digest(tables, "imported_events") == before
