"""Questions to Kafka about a log, by a consumer that is there for them alone.

In: partitions. Out: where their logs end for readers of committed records, when a record was
written, how long a topic is kept. Never: an answer of the consumer that does the work; a wait
without an end; a consumer for each question, whose buffers would wait for the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.kafka.admin import describe_settings, open_admin
from runtime.kafka.consumers import open_consumer
from runtime.kafka.servers import KafkaServers
from runtime.monitoring.retention import Kept

ANSWER_WITHIN_S = 10.0
_RETENTION = ("retention.ms", "retention.bytes")
_FETCH_MS = 500
# One record is looked for: what comes with it from every partition would be memory for nothing.
_FETCHED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offsets of a log's first record, and behind its last one that can be read."""

    start: int
    end: int


class Probe(Protocol):
    """What the watch asks of Kafka."""

    async def bounds(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return where logs begin and end; an open transaction is the end."""

    async def received_at(self, place: TopicPartition, offset: int, end: int) -> int | None:
        """Return when the first record from an offset on was written (ms), None if there is none.

        Markers of transactions, and records of aborted ones, take offsets and are no records.
        """

    async def kept(self, topics: Iterable[str]) -> Mapping[str, Kept]:
        """Return for how long topics are kept."""


class KafkaProbe:
    """The probe of a real Kafka; every answer comes within ten seconds, or is a `TimeoutError`."""

    def __init__(self, servers: KafkaServers, consumer: AIOKafkaConsumer) -> None:
        self._servers = servers
        self._consumer = consumer

    async def bounds(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return where logs begin and end."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            starts = await self._consumer.beginning_offsets(places)
            ends = await self._consumer.end_offsets(places)
        return {place: Bounds(starts[place], ends[place]) for place in places}

    async def received_at(self, place: TopicPartition, offset: int, end: int) -> int | None:
        """Return when the first record from an offset on was written."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            with _reading(self._consumer, {place: offset}):
                while await self._consumer.position(place) < end:
                    found = await self._consumer.getmany(place, timeout_ms=_FETCH_MS, max_records=1)
                    for record in found.get(place, ()):
                        return int(record.timestamp)
        return None

    async def kept(self, topics: Iterable[str]) -> Mapping[str, Kept]:
        """Return for how long topics are kept."""
        async with asyncio.timeout(ANSWER_WITHIN_S), open_admin(self._servers) as admin:
            found = await describe_settings(admin, dict.fromkeys(topics, _RETENTION))
        return {
            topic: Kept(int(values["retention.ms"]), int(values["retention.bytes"]))
            for topic, values in found.items()
        }


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets of a partition from one on, up to but without an end."""

    offset: int
    end: int


def open_asking(servers: KafkaServers) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    """Give a consumer for such questions, without a group.

    Raises:
        KafkaError: no broker answers.
    """
    return open_consumer(servers, bytes_at_once=_FETCHED_BYTES)


async def find_records(
    consumer: AIOKafkaConsumer, gaps: Mapping[TopicPartition, Gap]
) -> set[TopicPartition]:
    """Return in which gaps there is a record that can be read; elsewhere there are only marks.

    Raises:
        KafkaError: Kafka does not answer.
        TimeoutError: it does not within ten seconds.
    """
    full: set[TopicPartition] = set()
    async with asyncio.timeout(ANSWER_WITHIN_S):
        with _reading(consumer, {where: gap.offset for where, gap in gaps.items()}):
            unread = dict(gaps)
            while unread:
                found = await consumer.getmany(*unread, timeout_ms=_FETCH_MS, max_records=1)
                full |= {where for where, records in found.items() if records}
                unread = {
                    where: gap
                    for where, gap in unread.items()
                    if where not in full and await consumer.position(where) < gap.end
                }
    return full


@contextmanager
def _reading(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> Iterator[None]:
    """Let a consumer read from offsets on, and afterwards nothing any more."""
    consumer.assign([*offsets])
    try:
        for where, offset in offsets.items():
            consumer.seek(where, offset)
        yield
    finally:
        _let_go(consumer)
        consumer.unsubscribe()


def _let_go(consumer: AIOKafkaConsumer) -> None:
    """End the reading of what was fetched and is not wanted.

    What aiokafka fetches refers to itself by its generator until that has come to its end: up to a
    megabyte of each partition would wait for the cycle collector, which services run rarely.
    """
    for fetched in consumer._fetcher._records.values():
        records = getattr(fetched, "_partition_records", None)
        if records is not None and records._records_iterator is not None:
            records._records_iterator.close()
