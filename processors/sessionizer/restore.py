"""A partition's state read back from Kafka, and its position checked against the log.

In: `track.state` and `track.events` of one partition, read with read_committed. Out: the partition
as it was after the last committed transaction, and the position. Never: a guess; what does not fit
together is an error that says what is wrong and which command goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.topics import Topics
from processors.sessionizer.partition import Partition, Record
from processors.sessionizer.position import POSITION_KEY, Position, decode_position, user_of
from runtime.failpoints import failpoint, is_stalled
from runtime.kafka.consumers import learn, open_consumer
from runtime.kafka.servers import KafkaServers

STEP_WITHIN_S = 20.0  # a step that gets no further ends the process, which is started again
_YIELD_EVERY = 2000

FAILPOINTS = ("sessionizer.after_state",)
"""Where a test kills the sessionizer in the middle of a restore."""

STALL_POINT = "sessionizer.read_back"
"""Where a test lets a restore read nothing more, as if Kafka had no answer."""


class PositionError(Exception):
    """State and log do not fit together; the message says how to go on."""


async def restore(
    partition: Partition, servers: KafkaServers, topics: Topics, duplicate_window: int
) -> Position:
    """Fill the partition from Kafka and return its position.

    The former owner must be fenced before, so that nothing it left open is still to come.

    Raises:
        PositionError: there is no position, or the log is not the one that it was noted in.
    """
    async with open_consumer(servers) as consumer:
        position = await _read_state(consumer, topics, partition)
        failpoint("sessionizer.after_state")
        await _refill_window(consumer, topics, partition, position, duplicate_window)
    return position


async def _read_state(consumer: AIOKafkaConsumer, topics: Topics, partition: Partition) -> Position:
    source = TopicPartition(topics.state, partition.number)
    first, end = await _bounds(consumer, source)
    position = None
    async for record in _read(consumer, source, first, end):
        key = record.key or b""
        user_id = user_of(key)
        if user_id is not None:
            partition.restore(user_id, record.value)
        elif key == POSITION_KEY:
            position = None if record.value is None else decode_position(record.value)
    if position is None:
        raise PositionError(
            f"{source.topic} has no position for partition {source.partition}: the topic was made "
            f"anew or emptied. `track position {source.partition} --to …` sets one."
        )
    return position


async def _refill_window(
    consumer: AIOKafkaConsumer,
    topics: Topics,
    partition: Partition,
    position: Position,
    duplicate_window: int,
) -> None:
    source = TopicPartition(topics.events, partition.number)
    first, end = await _bounds(consumer, source)
    _check_bounds(source, position, first, end)
    start = max(first, min(position.next - duplicate_window, position.offset))
    last: Record | None = None
    if start < position.next:
        async for record in _read(consumer, source, start, position.next):
            if record.offset < position.next:
                partition.remember(record)
                last = record
    if position.offset >= first and (
        last is None or (last.offset, last.timestamp) != (position.offset, position.received_at)
    ):
        raise PositionError(
            f"{source.topic}, partition {source.partition}: the record before the position "
            f"{position.next} is not the one that was processed; the topic was made anew. "
            "`track position` sets where to go on from, and says what that means."
        )


def _check_bounds(source: TopicPartition, position: Position, first: int, end: int) -> None:
    where = f"{source.topic}, partition {source.partition}: the position {position.next}"
    if position.next > end:
        raise PositionError(
            f"{where} lies beyond the log's end {end}; the topic was made anew. "
            "`track position` sets where to go on from, and says what that means."
        )
    if position.next < first:
        raise PositionError(
            f"{where} lies before the log's beginning {first}: {first - position.next} offsets "
            "went by retention before they were processed. `track position` accepts the loss."
        )


async def _bounds(consumer: AIOKafkaConsumer, source: TopicPartition) -> tuple[int, int]:
    async with asyncio.timeout(STEP_WITHIN_S):
        await learn(consumer, [source])
        first = await consumer.beginning_offsets([source])
        end = await consumer.end_offsets([source])
    return first[source], end[source]


async def _read(
    consumer: AIOKafkaConsumer, source: TopicPartition, start: int, end: int
) -> AsyncIterator[Record]:
    consumer.assign([source])
    consumer.seek(source, start)
    read, position, clock = 0, start, asyncio.get_running_loop().time
    deadline = clock() + STEP_WITHIN_S
    while position < end:
        if clock() > deadline:
            raise TimeoutError(f"{source.topic}/{source.partition} is stuck at offset {position}")
        async with asyncio.timeout(STEP_WITHIN_S):
            fetched = await consumer.getmany(source, timeout_ms=1000)
            now_at = position if is_stalled(STALL_POINT) else await consumer.position(source)
        if now_at != position:
            position, deadline = now_at, clock() + STEP_WITHIN_S
        for records in fetched.values():
            for record in records:
                yield record
                read += 1
                if read % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
