"""What the writer counts of its inserts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from contracts.metrics import AGE, INSERT_BYTES, INSERT_DURATION, INSERT_ROWS, REFUSED_ROWS
from contracts.tables import EVENTS
from processors.writer.blocks import Block
from processors.writer.measures import Inserts
from runtime.monitoring.measures import Histogram

NOW_MS = 1_700_000_000_000


def block(ages_s: Sequence[float | None]) -> Block:
    lines = [
        b'{"n":1}\n' if age is None else b'{"received_at":%d}\n' % (NOW_MS - round(1000 * age))
        for age in ages_s
    ]
    numbers = range(len(lines))
    return Block(0, len(lines), lines, numbers, numbers)


def histogram(inserts: Inserts, name: str) -> Histogram:
    [found] = [value for metric, _, value in inserts.samples() if metric.name == name]
    assert isinstance(found, Histogram)
    return found


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 15, 16, 17, 1000])
def test_ages_stand_for_every_row(rows: int) -> None:
    inserts = Inserts(EVENTS)
    inserts.note(block([2.0] * rows), refused=0, took_s=0.1, now_ms=NOW_MS)
    ages = histogram(inserts, AGE.name)
    assert ages.count == rows
    assert ages.sum == pytest.approx(2.0 * rows)
    assert ages.counts[AGE.buckets.index(2.5)] == rows
    assert histogram(inserts, INSERT_ROWS.name).sum == rows


def test_a_row_without_a_time_and_one_from_the_future_harm_nothing() -> None:
    inserts = Inserts(EVENTS)
    inserts.note(block([None, -5.0, 1.0]), refused=2, took_s=0.1, now_ms=NOW_MS)
    ages = histogram(inserts, AGE.name)
    assert (ages.count, ages.sum) == (2, 1.0)
    values = {metric.name: value for metric, _, value in inserts.samples()}
    assert values[REFUSED_ROWS.name] == 2
    assert histogram(inserts, INSERT_DURATION.name).count == 1
    assert histogram(inserts, INSERT_BYTES.name).sum == sum(map(len, block([None, -5, 1]).lines))
