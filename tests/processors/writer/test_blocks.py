"""Lines as ClickHouse gets them, and blocks that are cut where they must be."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as some

from processors.writer.blocks import Buffer, prefix_of, without_prefix


@dataclass(frozen=True)
class _Record:
    offset: int
    value: bytes | None
    timestamp: int = 0


def _buffer(*offsets: int) -> Buffer:
    buffer = Buffer(prefix_of(3, None))
    buffer.add([_Record(offset, b'{"a":1}') for offset in offsets])
    return buffer


def test_partition_and_offset_are_spliced_in() -> None:
    assert _buffer(7).take(5, 9, 999).body() == b'{"kafka_partition":3,"kafka_offset":7,"a":1}\n'


def test_the_topic_is_named_where_a_table_takes_several() -> None:
    prefix = prefix_of(0, "t.rejected")
    buffer = Buffer(prefix)
    buffer.add([_Record(1, b'{"a":",{"}')])
    line = buffer.take(0, 1, 1).lines[0]
    assert json.loads(line) == {
        "kafka_topic": "t.rejected",
        "kafka_partition": 0,
        "kafka_offset": 1,
        "a": ",{",
    }
    assert without_prefix(line, prefix) == b'{"a":",{"}'


def test_a_record_without_a_value_becomes_a_line_that_is_refused() -> None:
    buffer = Buffer(prefix_of(0, None))
    buffer.add([_Record(1, None)])
    with pytest.raises(json.JSONDecodeError):
        json.loads(buffer.take(0, 1, 1).lines[0])


def test_a_range_is_the_records_whose_offsets_lie_in_it() -> None:
    buffer = _buffer(4, 5, 9, 12)
    block = buffer.take_range(3, 10)
    assert (block.first, block.last, block.offsets) == (3, 10, [4, 5, 9])
    assert buffer.last == 12
    assert buffer.take_range(11, 11).offsets == []


@given(some.lists(some.integers(1, 50), max_size=60), some.integers(1, 9), some.integers(1, 400))
def test_blocks_cut_anywhere_hold_every_record_once(steps: list[int], rows: int, size: int) -> None:
    offsets = [sum(steps[: n + 1]) for n in range(len(steps))]
    buffer, first, found = _buffer(*offsets), 0, list[int]()
    while len(buffer):
        block = buffer.take(first, rows, size)
        assert block.offsets
        assert len(block.offsets) <= rows
        assert len(block.body()) <= size or len(block.offsets) == 1
        assert block.first == first
        assert block.last == block.offsets[-1]
        found += block.offsets
        first = block.last + 1
    assert found == offsets
    assert buffer.bytes == 0
