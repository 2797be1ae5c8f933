"""Until when everything is in the table: by the offsets of sessionizer and writer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from cli.parquet.settled import read_settled
from runtime.settings import Settings
from tests.processors.writer.pipeline import NOW_MS, Pipeline

DAY_MS = 86_400_000
CLOCKS_DIFFER_MS = 60_000


@pytest.fixture
def pipeline(settings: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(settings, tmp_path)
    yield made
    made.close()


def settled(pipeline: Pipeline) -> int:
    return asyncio.run(read_settled(pipeline.settings))


async def produce_event(pipeline: Pipeline, partition: int) -> int:
    """Write an event that no sessionizer takes; return when Kafka received it."""
    producer = AIOKafkaProducer(**pipeline.settings.kafka_servers.client_arguments())
    async with producer:
        sent = await producer.send_and_wait(
            pipeline.topics.events, b'{"event":"play","user_id":"ada"}', partition=partition
        )
    return int(sent.timestamp)


async def commit(pipeline: Pipeline, partition: int, offset: int) -> None:
    """Commit an offset for the sessionizers."""
    consumer = AIOKafkaConsumer(
        **pipeline.settings.kafka_servers.client_arguments(),
        group_id=f"{pipeline.settings.namespace}.sessionizer",
        enable_auto_commit=False,
    )
    async with consumer:
        where = TopicPartition(pipeline.topics.events, partition)
        consumer.assign([where])
        await consumer.commit({where: offset})


def test_it_is_the_first_moment_of_which_something_is_not_done(pipeline: Pipeline) -> None:
    before = time.time_ns() // 1_000_000
    # Nothing was ever sent: everything is done, but for the difference of clocks.
    assert before - CLOCKS_DIFFER_MS <= settled(pipeline) <= time.time() * 1000 - CLOCKS_DIFFER_MS

    # Rows on the topic that no writer has inserted; the oldest were received a day ago.
    pipeline.produce(60)
    assert settled(pipeline) == NOW_MS - DAY_MS
    pipeline.run_until_done()
    assert settled(pipeline) >= before - CLOCKS_DIFFER_MS

    # An event that no sessionizer has taken, more than the difference of clocks ago.
    received = asyncio.run(produce_event(pipeline, 3))
    assert settled(pipeline) <= received
    asyncio.run(commit(pipeline, 3, 1))
    assert settled(pipeline) >= before - CLOCKS_DIFFER_MS


def test_an_offset_whose_records_have_expired_holds_up_nothing(pipeline: Pipeline) -> None:
    pipeline.produce(60)
    for partition in range(pipeline.settings.partitions):
        pipeline.delete_records(pipeline.topics.accepted, -1, partition=partition)
    assert settled(pipeline) > NOW_MS - CLOCKS_DIFFER_MS - 1
