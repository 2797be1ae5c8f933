"""Records as lines for ClickHouse: gathered for one partition, and taken as blocks.

In: fetched records, whose values are rows as JSON objects. Out: blocks of lines, each with its
partition and offset spliced in. Never: a value decoded; a record looked at twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Protocol


class Record(Protocol):
    """What is read of a fetched record."""

    @property
    def offset(self) -> int:
        """Where it stands in its partition."""

    @property
    def timestamp(self) -> int:
        """When it was written, ms since 1970."""

    @property
    def value(self) -> bytes | None:
        """The row as a JSON object."""


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of a range of offsets, both ends inclusive; offsets may be missing inside.

    Kafka's markers of transactions take offsets, so `offsets` need neither begin with `first` nor
    be without holes.
    """

    first: int
    last: int
    lines: Sequence[bytes]
    offsets: Sequence[int]
    timestamps: Sequence[int]

    def body(self) -> bytes:
        """Return the rows as one text of JSON lines."""
        return b"".join(self.lines)

    def only(self, indexes: Sequence[int]) -> Block:
        """Return the block with these of its rows, under the same range."""
        return Block(
            self.first,
            self.last,
            [self.lines[i] for i in indexes],
            [self.offsets[i] for i in indexes],
            [self.timestamps[i] for i in indexes],
        )


class Buffer:
    """The rows of one partition that were fetched and not yet taken, in the order of the log."""

    __slots__ = ("_lines", "_offsets", "_prefix", "_timestamps", "bytes")

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._lines: list[bytes] = []
        self._offsets: list[int] = []
        self._timestamps: list[int] = []
        self.bytes = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._lines)

    @property
    def last(self) -> int | None:
        """The offset of the last record, or None if there is none."""
        return self._offsets[-1] if self._offsets else None

    def add(self, records: Sequence[Record]) -> None:
        """Splice and keep records.

        A record without a value becomes an object without columns, which ClickHouse refuses.
        """
        prefix = self._prefix
        lines = [
            b"%b%d,%b\n" % (prefix, record.offset, (record.value or b"{}")[1:])
            for record in records
        ]
        self._lines += lines
        self._offsets += [record.offset for record in records]
        self._timestamps += [record.timestamp for record in records]
        self.bytes += sum(map(len, lines))

    def take(self, first: int, rows: int, size: int) -> Block:
        """Take a block that begins at `first`: at most so many rows and bytes, but one at least."""
        count = min(rows, len(self._lines))
        if self.bytes > size:
            sizes = accumulate(map(len, self._lines[:count]))
            count = max(1, sum(1 for _ in takewhile(lambda total: total <= size, sizes)))
        return self._cut(first, self._offsets[count - 1], count)

    def take_range(self, first: int, last: int) -> Block:
        """Take exactly the records from `first` to `last`, both inclusive."""
        count = sum(1 for _ in takewhile(lambda offset: offset <= last, self._offsets))
        return self._cut(first, last, count)

    def _cut(self, first: int, last: int, count: int) -> Block:
        block = Block(
            first, last, self._lines[:count], self._offsets[:count], self._timestamps[:count]
        )
        del self._lines[:count], self._offsets[:count], self._timestamps[:count]
        self.bytes -= sum(map(len, block.lines))
        return block


def prefix_of(partition: int, topic: str | None) -> bytes:
    """Return how each line of a partition begins, up to the offset.

    `topic` is named where rows of several topics lie in one table.
    """
    named = b'"kafka_topic":"%b",' % topic.encode() if topic else b""
    return b'{%b"kafka_partition":%d,"kafka_offset":' % (named, partition)


def without_prefix(line: bytes, prefix: bytes) -> bytes:
    """Return the value of the record that a line was made from."""
    return b"{" + line[len(prefix) :].partition(b",")[2].removesuffix(b"\n")
