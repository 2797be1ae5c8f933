"""The window of duplicates after a restart, filled again from Kafka: exact at both of its edges.

The topic takes the times that the test gives (CreateTime), so that a day can lie between two
records. Who begins anew decides as who never ended.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from contracts.rows import AcceptedRow
from contracts.topics import DAY_MS, Partitioner, Topics
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Partition, Pipeline
from processors.sessionizer.position import POSITION_KEY, Position, encode_position
from processors.sessionizer.restore import restore
from runtime.kafka.admin import open_admin
from runtime.kafka.consumers import open_consumer
from runtime.settings import Settings

pytestmark = pytest.mark.anyio

WINDOW = 10
T0 = 1_790_000_000_000

BEFORE = [(f"id-{offset}", T0 + offset) for offset in range(20)]
AFTER = [
    ("id-10", T0 + 30),  # at offset 20: as far back as the window reaches
    ("id-10", T0 + 31),  # the repetition at 20 is an occurrence as well
    ("id-11", T0 + 32),  # at 22: one offset too far back
    ("id-13", T0 + 13 + DAY_MS),  # a day to the millisecond
    ("id-14", T0 + 14 + DAY_MS + 1),  # a millisecond more
    ("id-15", T0 + 15 - DAY_MS),  # received earlier, by the broker's clock
    ("id-0", T0 + 40),  # long gone
]


class Accepted:
    """A sink that keeps the offsets of accepted events, the only outputs that there are."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        self.offsets.append(row.log_offset)

    complete = reject = readdress = None


@pytest.mark.parametrize(
    ("deleted", "accepted"),
    [
        (0, [22, 24, 26]),
        (15, [20, 22, 23, 24, 26]),  # retention took what 10 and 13 would have repeated
    ],
)
async def test_it_is_as_it_was(settings: Settings, deleted: int, accepted: list[int]) -> None:
    topics = Topics.of(settings.namespace)
    await make_log(settings, topics, deleted)
    records = await read(settings, topics, deleted)
    begun_anew, never_ended = partition_of(topics), partition_of(topics)
    await restore(begun_anew, settings.kafka_servers, topics, WINDOW)
    found, all_found = Accepted(), Accepted()
    for record in records:
        never_ended.step(record, all_found)  # type: ignore[arg-type]
        if record.offset >= len(BEFORE):
            begun_anew.step(record, found)  # type: ignore[arg-type]
    assert found.offsets == accepted
    assert [each for each in all_found.offsets if each >= len(BEFORE)] == accepted


def partition_of(topics: Topics) -> Partition:
    return Partition(0, Pipeline("log", topics.events, Partitioner(1), PairingRules(), WINDOW))


async def make_log(settings: Settings, topics: Topics, deleted: int) -> None:
    """Write what came before and after, and the position between; delete some of the beginning."""
    by_producer = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    async with open_admin(settings.kafka_servers) as admin:
        await admin.create_topics(
            [
                NewTopic(topics.events, 1, 1, topic_configs=by_producer),
                NewTopic(topics.state, 1, 1),
            ]
        )
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
            for event_id, at in (*BEFORE, *AFTER):
                value = json.dumps({"event": "buy", "user_id": "u", "event_id": event_id})
                await producer.send(topics.events, value.encode(), timestamp_ms=at)
            last = len(BEFORE) - 1
            position = Position(next=last + 1, offset=last, received_at=BEFORE[last][1])
            await producer.send_and_wait(topics.state, encode_position(position), POSITION_KEY)
            await producer.flush()
        if deleted:
            where = TopicPartition(topics.events, 0)
            await admin.delete_records({where: RecordsToDelete(deleted)})


async def read(settings: Settings, topics: Topics, first: int) -> list[Any]:
    where = TopicPartition(topics.events, 0)
    records: list[Any] = []
    async with open_consumer(settings.kafka_servers) as consumer:
        consumer.assign([where])
        consumer.seek(where, first)
        while len(records) < len(BEFORE) + len(AFTER) - first:
            records += (await consumer.getmany(where, timeout_ms=100)).get(where, ())
    return records
