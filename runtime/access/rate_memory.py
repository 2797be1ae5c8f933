"""The memory of rate limits, shared by the processes of one host: a small file that all map.

In: the folder of the process files. Out: pieces of memory, and the secret of those who share them.
Never: a file that is cut while somebody has it mapped, which would kill the reader.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from runtime.access.rates import PLACE_BYTES

ADDRESSES = 65_536
KEYS = 1_024
_MARK = b"track-rates-1\n\0\0"
_SECRET_BYTES = 32
_HEAD_BYTES = 64
_SIZE = _HEAD_BYTES + (ADDRESSES + KEYS) * PLACE_BYTES


@dataclass(frozen=True, slots=True)
class RateMemory:
    """What the processes of a host share."""

    keys: memoryview
    addresses: memoryview
    secret: bytes


def open_rate_memory(folder: Path) -> RateMemory:
    """Return the memory that the processes with this folder share; the first one makes it.

    Raises:
        OSError: the folder or the file cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rates"
    with (folder / "rates.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_ours(path):
            _make(path)
        with path.open("r+b") as file:
            memory = memoryview(mmap.mmap(file.fileno(), _SIZE))
    secret = bytes(memory[len(_MARK) : len(_MARK) + _SECRET_BYTES])
    end_of_keys = _HEAD_BYTES + KEYS * PLACE_BYTES
    return RateMemory(memory[_HEAD_BYTES:end_of_keys], memory[end_of_keys:], secret)


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == _SIZE and file.read(len(_MARK)) == _MARK
    except FileNotFoundError:
        return False


def _make(path: Path) -> None:
    """Make a new file and put it in the place of the other, which whoever maps it keeps."""
    draft = path.with_name("rates.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_MARK + secrets.token_bytes(_SECRET_BYTES))
        # Real blocks: a page that a full disk has no room for would kill whoever writes it.
        os.posix_fallocate(file.fileno(), 0, _SIZE)
    draft.replace(path)
