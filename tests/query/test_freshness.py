"""How fresh answers are: never said too late a moment, and said at all once everything is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from cli.migrate import run_migrations
from contracts.groups import sessionizer_group
from contracts.topics import Topics
from query.freshness import Freshness, Look, Progress
from runtime.settings import Settings

EVENTS = [TopicPartition("events", number) for number in range(2)]
OUTPUTS = [TopicPartition("accepted", number) for number in range(2)]
steps = st.lists(
    st.tuples(st.sampled_from(["receive", "sessionize", "write", "look"]), st.integers(0, 1)),
    max_size=400,
)


@dataclass
class Pipeline:
    """Two partitions; each event that is sessionized puts one record out."""

    received: list[list[int]] = field(default_factory=lambda: [[], []])
    sessionized: list[int] = field(default_factory=lambda: [0, 0])
    written: list[int] = field(default_factory=lambda: [0, 0])

    def look(self, at_ms: int) -> Look:
        return Look(
            at_ms,
            {where: len(self.received[where.partition]) for where in EVENTS},
            {where: self.sessionized[where.partition] for where in EVENTS},
            {where: self.sessionized[where.partition] for where in OUTPUTS},
            {where: self.written[where.partition] for where in OUTPUTS},
        )

    def step(self, kind: str, partition: int, now_ms: int) -> None:
        match kind:
            case "receive":
                self.received[partition].append(now_ms)
            case "sessionize":
                done = min(self.sessionized[partition] + 2, len(self.received[partition]))
                self.sessionized[partition] = done
            case "write":
                self.written[partition] = self.sessionized[partition]

    def uncounted(self) -> Iterator[int]:
        """When each event that is not written was received."""
        for partition, received in enumerate(self.received):
            yield from received[self.written[partition] :]


@given(steps)
def test_everything_before_the_moment_is_written(taken: list[tuple[str, int]]) -> None:
    pipeline, progress = Pipeline(), Progress()
    for now_ms, (kind, partition) in enumerate(taken, 1):
        if kind == "look":
            progress.take(pipeline.look(now_ms))
        pipeline.step(kind, partition, now_ms)
        assert all(at >= progress.as_of_ms for at in pipeline.uncounted())
    for partition in (0, 1):
        pipeline.sessionized[partition] = len(pipeline.received[partition])
        pipeline.written[partition] = len(pipeline.received[partition])
    progress.take(pipeline.look(1000))
    assert progress.as_of_ms == 1000


def test_under_a_long_lag_few_looks_are_kept_and_the_moment_still_moves() -> None:
    pipeline, progress = Pipeline(), Progress()
    for now_ms in range(1, 5_000):
        pipeline.step("receive", 0, now_ms)
        progress.take(pipeline.look(now_ms))
        assert progress.as_of_ms == 0
        assert len(progress._received) <= 240
    for _ in range(2_400):
        pipeline.step("sessionize", 0, 0)
    pipeline.step("write", 0, 0)
    progress.take(pipeline.look(6_000))
    assert 4_000 < progress.as_of_ms <= 4_800


@pytest.mark.anyio
async def test_marks_of_transactions_behind_the_last_record_are_no_lag(settings: Settings) -> None:
    """What a producer in transactions leaves at the end of a partition is never consumed."""
    await run_migrations(settings)
    topics = Topics.of(settings.namespace)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, transactional_id="outside")
    async with producer:
        for _ in range(2):
            async with producer.transaction():
                await producer.send_and_wait(topics.events, b"x", partition=1)
    freshness = Freshness(settings)
    async with freshness.watched():
        await asyncio.sleep(4)
        assert freshness.as_of_ms == 0  # nothing was committed
        await commit(settings, sessionizer_group(settings.namespace), topics.events, 3)
        for _ in range(300):
            if freshness.as_of_ms:
                break
            await asyncio.sleep(0.2)
        assert freshness.as_of_ms


async def commit(settings: Settings, group: str, topic: str, offset: int) -> None:
    where = TopicPartition(topic, 1)
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka, group_id=group) as consumer:
        consumer.assign([where])
        await consumer.commit({where: offset})


@pytest.mark.anyio
async def test_without_kafka_nothing_is_said(settings: Settings) -> None:
    freshness = Freshness(Settings())
    async with freshness.watched():
        assert freshness.as_of_ms == 0
    assert settings.kafka
