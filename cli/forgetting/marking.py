"""The moment at which a user is forgotten: the mark, and the processors' state without the user.

In: settings, a log, a user. Out: the mark, written in one Kafka transaction with a tombstone of the
user's state. Never: one without the other; an event that was paired before the mark and is not
covered by it.

The transaction is one of the sessionizer that owns the user's partition. Starting its producer ends
what the owner left open and fences it, so that the position that is read then is where the mark
stands: everything before it has been processed, nothing behind it. The owner's process ends, is
started again, and goes on from there with the state as the tombstone leaves it. If it is so quick
that it fences this producer first, nothing was written, and it is done again.
"""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced

from cli.forgetting.marks import read_marks
from contracts.forgetting import Mark, encode_mark, user_key
from contracts.log import Log
from contracts.topics import Partitioner, Topics
from processors.sessionizer.position import (
    POSITION_KEY,
    Position,
    decode_position,
)
from processors.sessionizer.position import (
    user_key as state_key,
)
from processors.sessionizer.transactions import close, group_of, transactional_producer
from runtime.failpoints import failpoint
from runtime.kafka.admin import open_consumer
from runtime.settings import Settings
from runtime.startup import StartupError

FAILPOINTS = ("forget.after_fence", "forget.before_commit", "forget.after_mark")
"""Where a test kills the command around its transaction."""

_ATTEMPTS = 5
_WITHIN_S = 60.0
# A position is the last record of every transaction of an owner, so it is seldom far from the end.
_TAIL_OFFSETS = 2_000


async def mark_user(settings: Settings, log: Log, user_id: str) -> Mark:
    """Mark a user as forgotten from now on, and clear the user's state; return the mark.

    Raises:
        StartupError: the owner of the partition was quicker each time, or has no position.
        KafkaError, TimeoutError: the broker does not answer.
    """
    partition = Partitioner(log.partitions).partition_of(user_id)
    for _ in range(_ATTEMPTS):
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await _mark(settings, log, user_id, partition)
        except ProducerFenced:
            continue
    raise StartupError(
        f"The sessionizer of partition {partition} began anew each time before the user was marked."
        " See why it begins so often, and run this again."
    )


async def _mark(settings: Settings, log: Log, user_id: str, partition: int) -> Mark:
    servers, topics = settings.kafka_servers, Topics.of(settings.namespace)
    earlier = (await read_marks(settings, log.id)).of(user_id)
    producer = transactional_producer(servers, group_of(settings.namespace), partition)
    try:
        await producer.start()
        failpoint("forget.after_fence")
        async with open_consumer(servers, uncommitted=True) as ends:
            accepted = TopicPartition(topics.accepted, partition)
            accepted_end = (await ends.end_offsets([accepted]))[accepted]
        mark = Mark(
            partition=partition,
            offsets=await _read_positions(settings, log),
            accepted=accepted_end,
            forgotten_at=time.time_ns() // 1_000_000,
        )
        mark = mark if earlier is None else _latest(mark, earlier)
        await _write(producer, topics, user_id, user_key(log.id, user_id), mark)
    finally:
        await close(producer)
    failpoint("forget.after_mark")
    return mark


async def _write(
    producer: AIOKafkaProducer, topics: Topics, user_id: str, key: str, mark: Mark
) -> None:
    async with producer.transaction():
        await producer.send_and_wait(
            topics.state, None, state_key(user_id), partition=mark.partition
        )
        await producer.send_and_wait(topics.forgotten, encode_mark(mark), key.encode(), partition=0)
        failpoint("forget.before_commit")


async def _read_positions(settings: Settings, log: Log) -> tuple[int, ...]:
    """Return how far each partition of `events` is processed."""
    topic = Topics.of(settings.namespace).state
    async with open_consumer(settings.kafka_servers) as consumer:
        positions = [
            await _read_position(consumer, TopicPartition(topic, number))
            for number in range(log.partitions)
        ]
    return tuple(position.next for position in positions)


async def _read_position(consumer: AIOKafkaConsumer, where: TopicPartition) -> Position:
    first = (await consumer.beginning_offsets([where]))[where]
    end = (await consumer.end_offsets([where]))[where]
    for start in (max(first, end - _TAIL_OFFSETS), first):
        position = await _last_position(consumer, where, start, end)
        if position is not None:
            return position
    raise StartupError(
        f"{where.topic} has no position for partition {where.partition}. "
        f"`track position {where.partition} --to …` sets one."
    )


async def _last_position(
    consumer: AIOKafkaConsumer, where: TopicPartition, start: int, end: int
) -> Position | None:
    found = None
    if start < end:
        consumer.assign([where])
        consumer.seek(where, start)
        while await consumer.position(where) < end:
            for records in (await consumer.getmany(where, timeout_ms=200)).values():
                for record in records:
                    if record.key == POSITION_KEY and record.value is not None:
                        found = decode_position(record.value)
    return found


def _latest(mark: Mark, earlier: Mark) -> Mark:
    """Return what both cover: a position that was set back does not let anybody be known again."""
    return Mark(
        partition=mark.partition,
        offsets=tuple(map(max, mark.offsets, earlier.offsets)),
        accepted=max(mark.accepted, earlier.accepted),
        forgotten_at=mark.forgotten_at,
    )
