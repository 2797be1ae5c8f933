"""Record batches whose records are compressed before they are sent, by another thread.

In: records of one topic and partition. Out: batches as `AIOKafkaProducer.send_batch` takes them.
Never: a record that is sent by itself.

aiokafka compresses a batch on the event loop, when it is sent; that is a tenth of all work on the
way of an event, and zstd needs no interpreter lock. So a batch is built early here, and what the
producer decides late, its id, epoch and sequence number, is written into the header afterwards.
"""

from __future__ import annotations

import struct

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from runtime.kafka.record_batches import Headers, RecordBatch

_NO_HEADERS: Headers = []

MAX_BATCH_BYTES = 900_000  # under the broker's message.max.bytes of 1 MiB

# The header of a record batch, format 2: https://kafka.apache.org/documentation/#recordbatch
_CRC_AT, _CRC = 17, struct.Struct(">I")
_CHECKED_FROM = 21  # what the CRC covers: everything after it
_PRODUCER_AT, _PRODUCER = 43, struct.Struct(">qhi")  # id, epoch, first sequence number


class Batch(RecordBatch):
    """A transactional batch, compressed by zstd.

    Not by lz4: aiokafka compresses that at its level 9, which costs three times as much.
    """

    def __init__(self) -> None:
        super().__init__(
            MAX_BATCH_BYTES, codec=DefaultRecordBatch.CODEC_ZSTD, is_transactional=True
        )

    def build(self) -> None:
        """Compress the records, in any thread; nothing can be added any more."""
        self._build()

    def _set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int
    ) -> None:
        """Take what the producer has decided; it calls this once, right before it sends."""
        buffer = self._build()
        _PRODUCER.pack_into(buffer, _PRODUCER_AT, producer_id, producer_epoch, base_sequence)
        _CRC.pack_into(buffer, _CRC_AT, calc_crc32c(memoryview(buffer)[_CHECKED_FROM:]))


class Batches:
    """The batches of one topic and partition, the last of them open."""

    __slots__ = ("_append", "_count", "_last", "_whole", "partition", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self._whole: list[Batch] = []
        self._open()

    def add(self, key: bytes | None, value: bytes | None, headers: Headers = _NO_HEADERS) -> None:
        """Add a record."""
        if self._append(self._count, None, key, value, headers) is None:
            self._whole += self._closed()
            self._open()
            self._append(0, None, key, value, headers)
        self._count += 1

    def close(self) -> list[Batch]:
        """Return the batches that hold records, in order; nothing can be added any more."""
        return [*self._whole, *self._closed()]

    def _open(self) -> None:
        self._last, self._count = Batch(), 0
        self._append = self._last.appender()

    def _closed(self) -> list[Batch]:
        """Return the last batch if it holds records."""
        self._last.end(self._count)
        return [self._last] if self._count else []
