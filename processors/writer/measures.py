"""What the writer tells Prometheus of its inserts into one table.

In: blocks that were inserted. Out: samples, in another thread. Never: work for each row.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from contracts.metrics import (
    AGE,
    FILLED_ROLLUPS,
    INSERT_BYTES,
    INSERT_DURATION,
    INSERT_RETRIES,
    INSERT_ROWS,
    REFUSED_ROWS,
)
from contracts.tables import BaseTable
from processors.writer.blocks import Block
from runtime.monitoring.measures import Histogram, Sample

_LOOKED_AT = 8


class Inserts:
    """The inserts into a table, of all partitions."""

    def __init__(self, base: BaseTable) -> None:
        self._table = base.name
        self._durations = Histogram(INSERT_DURATION)
        self._rows = Histogram(INSERT_ROWS)
        self._bytes = Histogram(INSERT_BYTES)
        self._ages = Histogram(AGE)
        self._retries = self._refused = self._filled = 0

    def note(self, block: Block, *, refused: int, took_s: float, now_ms: int) -> None:
        """Note a block that is in the table, less the rows that were refused."""
        self._durations.observe(took_s)
        self._rows.observe(len(block.lines))
        self._bytes.observe(sum(map(len, block.lines)))
        self._refused += refused
        self._note_ages(block, now_ms)

    def note_retry(self) -> None:
        """Note a send that ClickHouse did not answer with yes."""
        self._retries += 1

    def note_filled(self) -> None:
        """Note a rollup that lacked rows and was filled."""
        self._filled += 1

    def samples(self) -> Iterator[Sample]:
        """Give what was noted."""
        labels = (self._table,)
        yield INSERT_DURATION, labels, self._durations
        yield INSERT_ROWS, labels, self._rows
        yield INSERT_BYTES, labels, self._bytes
        yield AGE, labels, self._ages
        yield INSERT_RETRIES, labels, self._retries
        yield REFUSED_ROWS, labels, self._refused
        yield FILLED_ROLLUPS, labels, self._filled

    def _note_ages(self, block: Block, now_ms: int) -> None:
        """Note the age of a few rows, each for as many as stand about it."""
        rows = len(block.lines)
        step = -(-rows // _LOOKED_AT) or 1
        for index in range(0, rows, step):
            received_at = _received_at(block.lines[index])
            if received_at is not None:
                age_s = max(0, now_ms - received_at) / 1000
                self._ages.observe(age_s, min(step, rows - index))


class _Received(msgspec.Struct):
    received_at: int


_decode = msgspec.json.Decoder(_Received).decode


def _received_at(line: bytes) -> int | None:
    try:
        return _decode(line).received_at
    except msgspec.MsgspecError:
        return None
