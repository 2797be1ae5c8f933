"""The latest of each key: what was committed is never missed, though it cannot be seen yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from runtime.kafka.admin import open_admin
from runtime.kafka.consumers import close_consumer, open_consumer, read_ends, read_latest
from runtime.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def topic(settings: Settings) -> str:
    """A topic of one partition."""
    name = f"{settings.namespace}.kept"
    async with open_admin(settings.kafka_servers) as admin:
        await admin.create_topics([NewTopic(name, 1, 1)])
    return name


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A transactional producer."""
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka, transactional_id=f"{settings.namespace}-outsider"
    ) as producer:
        yield producer


async def test_an_open_transaction_is_waited_for(
    settings: Settings, topic: str, producer: AIOKafkaProducer
) -> None:
    """To a reader of committed records the partition ends before it, also when it is committed."""
    assert await read_latest(settings.kafka_servers, topic, 0) == {}
    async with producer.transaction():
        await producer.send_and_wait(topic, b"1", b"key", partition=0)
        reading = asyncio.create_task(read_latest(settings.kafka_servers, topic, 0))
        await asyncio.sleep(1)
        assert not reading.done()
    async with asyncio.timeout(20):
        assert await reading == {b"key": b"1"}


async def test_what_is_aborted_is_not_there(
    settings: Settings, topic: str, producer: AIOKafkaProducer
) -> None:
    async with producer.transaction():
        await producer.send_and_wait(topic, b"1", b"key", partition=0)
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"2", b"key", partition=0)
    await producer.abort_transaction()
    assert await read_latest(settings.kafka_servers, topic, 0) == {b"key": b"1"}


async def test_the_ends_count_what_cannot_be_seen_yet(
    settings: Settings, topic: str, producer: AIOKafkaProducer
) -> None:
    where = TopicPartition(topic, 0)
    async with producer.transaction(), open_consumer(settings.kafka_servers) as committed:
        await producer.send_and_wait(topic, b"1", b"key", partition=0)
        assert await committed.end_offsets([where]) == {where: 0}
        assert await read_ends(settings.kafka_servers, [where]) == {where: 1}


class _Stopping:
    """A consumer whose `stop` waits for ever, and passes over the first time it is cancelled."""

    def __init__(self) -> None:
        self.began, self.released, self.has_ended = asyncio.Event(), asyncio.Event(), False

    async def stop(self) -> None:
        self.began.set()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self.released.wait()
            await self.released.wait()
        finally:
            self.has_ended = True


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_a_consumer_whose_end_hangs_is_ended_also_where_nobody_waits(
    is_given_up: bool,
) -> None:
    consumer: Any = _Stopping()
    closing = asyncio.create_task(close_consumer(consumer))
    await consumer.began.wait()
    if is_given_up:
        closing.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([closing])
    has_ended = consumer.has_ended
    consumer.released.set()
    assert has_ended
    assert closing.cancelled() == is_given_up
