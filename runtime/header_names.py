"""Header names that are not UTF-8: Kafka takes them, and aiokafka's reader fails on them for ever.

In: the bytes of a fetch. Out: its records; in such a name each wrong byte is read as U+FFFD, which
is what Java's clients do. Never: a record left out, a batch parsed twice that needs it once.

aiokafka has no seam here: `allow_any_header_name` puts `Batches` in the place of the class that its
fetcher cuts a fetch with. Without it one record of an outside producer would stop its partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiokafka.consumer.fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

# A batch: base offset (8 bytes), length of the rest (4), the rest.
# https://kafka.apache.org/documentation/#recordbatch
_LENGTH_AT, _REST_AT = 8, 12


def allow_any_header_name() -> None:
    """Make this process's consumers read records whatever their headers are called."""
    aiokafka.consumer.fetcher.MemoryRecords = Batches


class Batches:
    """The batches of a fetch of one partition."""

    def __init__(self, fetched: bytes) -> None:
        self._rest = memoryview(fetched)
        self._batches = MemoryRecords(fetched)

    def __getattr__(self, name: str) -> Any:
        """Return what the class in whose place this is has besides."""
        return getattr(self._batches, name)

    def next_batch(self) -> _Batch:
        """Return the next batch."""
        size = _REST_AT + int.from_bytes(self._rest[_LENGTH_AT:_REST_AT], "big")
        whole, self._rest = self._rest[:size], self._rest[size:]
        return _Batch(self._batches.next_batch(), whole)


class _Batch:
    """A batch as aiokafka's own reader has it, until that fails."""

    def __init__(self, batch: Any, whole: memoryview) -> None:
        self._batch = batch
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            return iter(_read_leniently(self._whole))


def _read_leniently(whole: memoryview) -> list[Any]:
    batch = _DefaultRecordBatchPy(whole)
    batch._maybe_uncompress()
    batch._buffer = _Lenient(batch._buffer)
    return list(batch)


class _Lenient(bytearray):
    """Bytes whose slices are text in any case."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return type(self)(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")
