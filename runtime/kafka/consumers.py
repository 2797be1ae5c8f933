"""Consumers that belong to no group: where partitions end, and what a topic holds, read whole.

In: servers, topics, partitions. Out: a consumer, offsets, the latest value of each key. Never: an
offset committed; a position of its own choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.cancelling import cancel
from runtime.kafka.fetched_records import allow_any_header_name, bare
from runtime.kafka.servers import KafkaServers

_REQUEST_TIMEOUT_MS = 10_000
_FETCH_WAIT_MS = 20
_FETCHED_BYTES = 1 << 20
_STOP_PAUSE_S = 0.5


@asynccontextmanager
async def open_consumer(
    servers: KafkaServers, *, uncommitted: bool = False, bytes_at_once: int = _FETCHED_BYTES
) -> AsyncIterator[AIOKafkaConsumer]:
    """Give a connected consumer of committed records, without a group, that seeks by itself never.

    To one that is `uncommitted` a partition ends where its last record does, committed or not. Of
    each partition `bytes_at_once` are fetched, and at least one batch of one of them. The records
    are bare ones, see `fetched_records`.

    Raises:
        KafkaError: no broker answers.
    """
    allow_any_header_name()
    consumer = AIOKafkaConsumer(
        **servers.client_arguments(),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted" if uncommitted else "read_committed",
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        # It reads to an end and waits for nothing new; a fetch that waits holds up what is asked
        # behind it.
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=bytes_at_once,
        value_deserializer=bare,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await close_consumer(consumer)


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, also where aiokafka's fetcher swallows that it is cancelled.

    Its `stop` then waits for ever for the fetcher, which another cancellation ends (seen at every
    second start over TLS).
    """
    stopping = asyncio.create_task(consumer.stop())
    try:
        await asyncio.wait({stopping}, timeout=_STOP_PAUSE_S)
    except asyncio.CancelledError:  # whoever gives up must leave nothing behind
        await asyncio.wait({stopping}, timeout=_STOP_PAUSE_S)
        await cancel(stopping)
        raise
    await cancel(stopping)
    if not stopping.cancelled():
        stopping.result()


async def learn(consumer: AIOKafkaConsumer, wheres: Iterable[TopicPartition]) -> None:
    """Let a consumer know where partitions are before it asks for their offsets.

    Otherwise it asks in vain, and waits for the tenth of a second that it lets pass after an error.
    """
    await consumer._client.set_topics({where.topic for where in wheres})


async def read_ends(
    servers: KafkaServers, wheres: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return where partitions end for whoever may see everything that was written until now.

    A commit is answered before its marks stand in the partitions. To a reader of committed records
    a partition ends before them for some milliseconds more, as if nothing had been committed (seen
    on a busy machine: the log id that had just been written was not there).

    Raises:
        KafkaError, TimeoutError: a broker does not answer.
    """
    async with open_consumer(servers, uncommitted=True) as consumer:
        await learn(consumer, wheres)
        return dict(await consumer.end_offsets(wheres))


async def sum_ends(servers: KafkaServers, topics: Iterable[str]) -> dict[str, int]:
    """Return the sum of a topic's end offsets over its partitions, by topic: 0 = never written.

    Raises:
        KafkaError, TimeoutError: a broker does not answer.
    """
    async with open_consumer(servers, uncommitted=True) as consumer:
        sums = {}
        for topic in topics:
            partitions = [
                TopicPartition(topic, number) for number in await _partitions_of(consumer, topic)
            ]
            sums[topic] = sum((await consumer.end_offsets(partitions)).values())
        return sums


async def read_latest(servers: KafkaServers, topic: str, partition: int) -> dict[bytes, bytes]:
    """Return the latest committed value of each key of a compacted topic's partition.

    Keys whose latest value is null are left out. An open transaction is waited for, and so is one
    that is committed and not yet to be seen: bound the call with a time-out.

    Raises:
        KafkaError, TimeoutError: a broker does not answer.
    """
    where = TopicPartition(topic, partition)
    latest: dict[bytes, bytes | None] = {}
    end = (await read_ends(servers, [where]))[where]
    async with open_consumer(servers) as consumer:
        consumer.assign([where])
        # The explicit offset matters: after a bare `assign` the background reset to the default
        # position can win, and the topic would seem empty.
        consumer.seek(where, (await consumer.beginning_offsets([where]))[where])
        while await consumer.position(where) < end:
            for records in (await consumer.getmany(where, timeout_ms=200)).values():
                latest.update((record.key, record.value) for record in records)
    return {key: value for key, value in latest.items() if value is not None}


async def _partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    """Return a topic's partitions; a topic made just now is not known to every broker at once."""
    while not (numbers := consumer.partitions_for_topic(topic)):
        await asyncio.sleep(0.1)
        await consumer._client.force_metadata_update()
    return sorted(numbers)
