"""Batches that are compressed early are whole: state of the producer, checksum, every record."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from processors.sessionizer import batches
from processors.sessionizer.batches import Batch, Batches

RECORDS = [(b"user-%d" % number, b'{"event":"play","number":%d}' % number) for number in range(50)]
HEADERS = [("source", b"shop")]


def read(batch: Batch) -> DefaultRecordBatch:
    """The batch as a consumer decodes it."""
    decoded = MemoryRecords(bytes(batch._build())).next_batch()
    assert isinstance(decoded, DefaultRecordBatch)
    return decoded


@pytest.mark.parametrize("early", [True, False], ids=["built early", "built when sent"])
def test_the_state_of_the_producer_is_written_into_a_batch(early: bool) -> None:
    """The checksum covers it, and the records stay what they were."""
    batch = Batch()
    append = batch.appender()
    for offset, (key, value) in enumerate(RECORDS):
        assert append(offset, None, key, value, HEADERS) is not None
    batch.end(len(RECORDS))
    if early:
        batch.build()
    batch._set_producer_state(4711, 3, 1234)
    decoded = read(batch)
    assert decoded.validate_crc()
    assert (decoded.producer_id, decoded.producer_epoch, decoded.base_sequence) == (4711, 3, 1234)
    assert decoded.is_transactional
    assert decoded.compression_type == DefaultRecordBatch.CODEC_ZSTD
    assert [(each.offset, each.key, each.value, list(each.headers)) for each in decoded] == [
        (offset, key, value, HEADERS) for offset, (key, value) in enumerate(RECORDS)
    ]


def test_a_full_batch_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, and none of them larger than a broker takes."""
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", 1_000)
    target = Batches("track.accepted", 2)
    for key, value in RECORDS:
        target.add(key, value)
    closed = target.close()
    assert len(closed) > 2
    assert all(batch.size() <= 1_000 for batch in closed)
    assert [(each.key, each.value) for batch in closed for each in read(batch)] == RECORDS


def test_nothing_makes_no_batch() -> None:
    """A topic that a transaction does not write to is not sent to."""
    assert Batches("track.sessions", 0).close() == []
