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
import random
import time

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced

from cli.forgetting.marks import read_marks
from cli.forgetting.positions import read_positions
from contracts.forgetting import Mark, encode_mark, user_key
from contracts.groups import sessionizer_group
from contracts.log import Log
from contracts.topics import Partitioner, Topics
from processors.sessionizer.position import user_key as state_key
from processors.sessionizer.transactions import close, transactional_producer
from runtime.failpoints import failpoint
from runtime.kafka.consumers import read_ends
from runtime.settings import Settings
from runtime.startup import StartupError

FAILPOINTS = ("forget.after_fence", "forget.before_commit", "forget.after_mark")
"""Where a test kills the command around its transaction."""

_WITHIN_S = 60.0
# Another run that wants the same partition, and its owner, come in between; at another moment each.
_LONGEST_PAUSE_S = 4.0


async def mark_user(settings: Settings, log: Log, user_id: str) -> Mark:
    """Mark a user as forgotten from now on, and clear the user's state; return the mark.

    Raises:
        StartupError: the owner of the partition was quicker each time, or has no position.
        KafkaError, TimeoutError: the broker does not answer.
    """
    partition = Partitioner(log.partitions).partition_of(user_id)
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await _mark(settings, log, user_id, partition)
        except ProducerFenced:
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - no secret
    raise StartupError(
        f"The sessionizer of partition {partition} began anew each time before the user was marked."
        " See why it begins so often, and run this again."
    )


async def _mark(settings: Settings, log: Log, user_id: str, partition: int) -> Mark:
    servers, topics = settings.kafka_servers, Topics.of(settings.namespace)
    earlier = (await read_marks(settings, log.id)).of(user_id)
    producer = transactional_producer(servers, sessionizer_group(settings.namespace), partition)
    try:
        await producer.start()
        failpoint("forget.after_fence")
        accepted = TopicPartition(topics.accepted, partition)
        accepted_end = (await read_ends(servers, [accepted]))[accepted]
        mark = Mark(
            partition=partition,
            offsets=await read_positions(settings),
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


def _latest(mark: Mark, earlier: Mark) -> Mark:
    """Return what both cover: a position that was set back does not let anybody be known again."""
    return Mark(
        partition=mark.partition,
        offsets=tuple(map(max, mark.offsets, earlier.offsets)),
        accepted=max(mark.accepted, earlier.accepted),
        forgotten_at=mark.forgotten_at,
    )
