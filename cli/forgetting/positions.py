"""How far each partition of `events` is processed, found without reading all of the state.

In: settings. Out: offsets. Never: a change.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.topics import Topics
from processors.sessionizer.position import POSITION_KEY, Position, decode_position
from runtime.kafka.consumers import learn, open_consumer, read_ends
from runtime.settings import Settings
from runtime.startup import StartupError

# A position is the last record of every transaction of an owner, so it is seldom far from the end.
_TAIL_OFFSETS = 2_000


async def read_positions(settings: Settings) -> tuple[int, ...]:
    """Return the offset before which each partition is processed; open transactions are waited for.

    Raises:
        StartupError: a partition has no position.
        KafkaError: the broker does not answer.
    """
    topic = Topics.of(settings.namespace).state
    wheres = [TopicPartition(topic, number) for number in range(settings.partitions)]
    ends = await read_ends(settings.kafka_servers, wheres)
    async with open_consumer(settings.kafka_servers) as consumer:
        await learn(consumer, wheres)
        positions = [await _read_position(consumer, where, ends[where]) for where in wheres]
    return tuple(position.next for position in positions)


async def _read_position(consumer: AIOKafkaConsumer, where: TopicPartition, end: int) -> Position:
    first = (await consumer.beginning_offsets([where]))[where]
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
