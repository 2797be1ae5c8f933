"""How a fetch is read into records: with header names of any bytes, and no more than was read.

In: the bytes of a fetch. Out: its records. Never: a record left out or given twice.

**Header names that are not UTF-8**: Kafka takes them, and aiokafka's reader fails on them for ever,
so that one record of an outside producer would stop its partition. Here each wrong byte of such a
name is read as U+FFFD, which is what Java's clients do; a fetch without one costs nothing more.

**Bare records**: aiokafka makes a second object of eleven members out of each record, which is half
of what reading takes (1.1 of 2.2 µs, measured). A consumer whose `value_deserializer` is `bare` is
given the first.

aiokafka has no seam here: `allow_any_header_name` puts two classes in the place of those that its
fetcher reads a fetch with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import aiokafka.consumer.fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

# A batch: base offset (8 bytes), length of the rest (4), the rest.
# https://kafka.apache.org/documentation/#recordbatch
_LENGTH_AT, _REST_AT = 8, 12


def allow_any_header_name() -> None:
    """Make this process's consumers read records whatever their headers are called."""
    aiokafka.consumer.fetcher.MemoryRecords = Fetched
    aiokafka.consumer.fetcher.PartitionRecords = Records


def bare(value: bytes | None) -> bytes | None:
    """Leave a value as it is: the deserializer of a consumer that wants bare records.

    They have offset, timestamp, key, value and headers, and no topic and partition: those are known
    to whoever asked.
    """
    return value


class Fetched:
    """The batches of a fetch of one partition as aiokafka cuts them, and its bytes."""

    def __init__(self, fetched: bytes) -> None:
        self.bytes = fetched
        batches = MemoryRecords(fetched)
        self.size_in_bytes = batches.size_in_bytes
        self.has_next = batches.has_next
        self.next_batch = batches.next_batch


class Records(PartitionRecords):  # type: ignore[misc]  # the library has no types
    """The records of a fetch of one partition; where aiokafka's reader fails, ours goes on."""

    _records: Any
    _records_iterator: Iterator[Any]

    def __iter__(self) -> Iterator[Any]:
        """Give the records without a call for each: a fifth of what reading takes."""
        return self._records_iterator

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record if self._value_deserializer is bare else super()._consumer_record(tp, record)

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            # Not from the beginning: what is known of aborted transactions is that of this place.
            self._records = _LenientBatches(self._records.bytes, self.next_fetch_offset)
            yield from super()._unpack_records()


class _LenientBatches:
    """The batches of a fetch from the one that holds an offset on."""

    def __init__(self, fetched: bytes, offset: int) -> None:
        self._batches = deque(each for each in _cut(fetched) if each.next_offset > offset)

    def has_next(self) -> bool:
        return bool(self._batches)

    def next_batch(self) -> _LenientBatch:
        return self._batches.popleft()


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # the library has no types
    """A batch whose text is read in any case."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    """Bytes whose slices are text in any case."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return type(self)(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")


def _cut(fetched: bytes) -> Iterator[_LenientBatch]:
    """Give the whole batches of a fetch; its last one may have been cut off by the broker."""
    rest = memoryview(fetched)
    while len(rest) >= _REST_AT:
        size = _REST_AT + int.from_bytes(rest[_LENGTH_AT:_REST_AT], "big")
        if size > len(rest):
            return
        yield _LenientBatch(rest[:size])
        rest = rest[size:]
