"""Fetches read: header names that are not UTF-8, compressed and not; records that are bare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import aiokafka.consumer.fetcher
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from runtime.kafka.fetched_records import Fetched, allow_any_header_name, bare

CODECS = {
    "none": DefaultRecordBatch.CODEC_NONE,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}
GOOD = [("source", b"web"), ("empty", b""), ("null", None), ("日本", b"\xff")]


def batch_of(
    codec: int, *, misnamed: bool, offset: int = 0, producer: int = 7, transactional: int = 0
) -> bytes:
    """Return three records; the middle one may have a header whose name is not UTF-8."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, transactional, producer, 0, 0, 4096)
    builder.append(0, 1, b"first", b"1", GOOD)
    builder.append(1, 2, None, None, [*GOOD, ("@@", b"x"), ("after", b"y")])
    builder.append(2, 3, b"last", b"", [])
    if misnamed:
        buffer = builder._buffer
        at = buffer.index(b"@@")
        buffer[at : at + 2] = b"a\xfe"
    return offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def abort_marker(offset: int, producer: int) -> bytes:
    """Return the control batch that a broker ends an aborted transaction with."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 1, producer, 0, -1, 4096)
    builder.append(0, 1, b"\0\0\0\0", b"\0\0\0\0\0\0", [])
    batch = bytearray(builder.build())
    batch[22] |= _DefaultRecordBatchBuilderPy.CONTROL_MASK
    batch[17:21] = calc_crc32c(memoryview(batch)[21:]).to_bytes(4, "big")
    return offset.to_bytes(8, "big") + bytes(batch)[8:]


each_codec = pytest.mark.parametrize("codec", list(CODECS.values()), ids=list(CODECS))


@pytest.fixture(autouse=True)
def _aiokafka_alone() -> Iterator[None]:
    """Begin with aiokafka's own classes, and put back what other tests may have put there."""
    fetcher = aiokafka.consumer.fetcher
    before = fetcher.MemoryRecords, fetcher.PartitionRecords
    fetcher.MemoryRecords, fetcher.PartitionRecords = MemoryRecords, PartitionRecords
    yield
    fetcher.MemoryRecords, fetcher.PartitionRecords = before


def read(
    fetched: bytes, aborted: Sequence[tuple[int, int]] = ()
) -> list[tuple[int, bytes | None, bytes | None, object]]:
    """Read a fetch as aiokafka's consumer does; `aborted` are producers and first offsets."""
    found = records_of(fetched, aborted)
    return [(each.offset, each.key, each.value, tuple(each.headers)) for each in found]


def records_of(
    fetched: bytes, aborted: Sequence[tuple[int, int]] = (), deserializer: object = None
) -> list[Any]:
    """Return the records that a consumer with a deserializer of values is given."""
    fetcher = aiokafka.consumer.fetcher
    records = fetcher.MemoryRecords(fetched)
    assert records.size_in_bytes() == len(fetched)
    place = TopicPartition("events", 0)
    found = fetcher.PartitionRecords(
        place, records, list(aborted), 0, None, deserializer, True, READ_COMMITTED
    )
    return list(found)


def test_aiokafka_alone_never_gets_past_it() -> None:
    """Should this fail some day, the module under test has become needless."""
    with pytest.raises(UnicodeDecodeError):
        read(batch_of(0, misnamed=True))


@each_codec
def test_what_is_well_named_is_read_as_before(codec: int) -> None:
    fetched = batch_of(codec, misnamed=False) * 2
    before = read(fetched)
    allow_any_header_name()
    assert read(fetched) == before


@each_codec
def test_every_record_is_read_and_the_name_is_replaced(codec: int) -> None:
    allow_any_header_name()
    good = batch_of(codec, misnamed=False)
    found = read(batch_of(codec, misnamed=True) + good[: len(good) // 2])
    assert [each[:3] for each in found] == [(0, b"first", b"1"), (1, None, None), (2, b"last", b"")]
    assert found[0][3] == tuple(GOOD)
    assert found[1][3] == (*GOOD, ("a\ufffd", b"x"), ("after", b"y"))


@each_codec
@pytest.mark.parametrize("misnamed", [False, True])
def test_bare_records_hold_the_same_and_no_more(codec: int, *, misnamed: bool) -> None:
    allow_any_header_name()
    fetched = batch_of(codec, misnamed=misnamed) * 2
    whole, found = records_of(fetched), records_of(fetched, deserializer=bare)
    assert len(found) == len(whole)
    for one, other in zip(found, whole, strict=True):
        for name in ("offset", "timestamp", "key", "value"):
            assert getattr(one, name) == getattr(other, name)
        assert tuple(one.headers) == other.headers
    assert {type(each) for each in found}.isdisjoint({type(each) for each in whole})


def test_a_control_batch_is_left_to_aiokafka() -> None:
    batch = Fetched(batch_of(0, misnamed=False)).next_batch()
    assert next(batch).key == b"first"
    assert (batch.base_offset, batch.next_offset, batch.producer_id) == (0, 3, 7)
    assert not batch.is_control_batch


@each_codec
def test_what_was_aborted_stays_unseen_on_both_sides_of_the_name(codec: int) -> None:
    """Of the producer 7 one transaction is aborted before the name, and another one around it."""
    allow_any_header_name()
    fetched = b"".join(
        (
            batch_of(codec, misnamed=False, offset=0, transactional=1),
            abort_marker(3, 7),
            batch_of(codec, misnamed=False, offset=4, transactional=1),
            batch_of(codec, misnamed=True, offset=7, producer=8),
            batch_of(codec, misnamed=True, offset=10, transactional=1),
            abort_marker(13, 7),
            batch_of(codec, misnamed=False, offset=14, transactional=1),
        )
    )
    found = read(fetched, aborted=[(7, 0), (7, 4)])
    assert [each[0] for each in found] == [7, 8, 9, 14, 15, 16]
