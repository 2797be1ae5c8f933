"""The watch's questions to a real Kafka: an open transaction is the end, a marker is no record."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from runtime.kafka.admin import open_admin
from runtime.kafka.probe import Gap, KafkaProbe, find_records, open_asking
from runtime.monitoring.retention import Kept
from runtime.settings import Settings
from tests.topic_settings import set_topic

pytestmark = pytest.mark.anyio


async def test_ends_records_and_retention(settings: Settings) -> None:
    topic = f"{settings.namespace}.probed"
    place = TopicPartition(topic, 0)
    began_ms = time.time_ns() // 1_000_000
    async with open_admin(settings.kafka_servers) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"retention.ms": "90000"})])
    outsider = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_servers.addresses,
        transactional_id=f"{settings.namespace}-outsider",
    )
    async with outsider, open_asking(settings.kafka_servers) as consumer:
        probe = KafkaProbe(settings.kafka_servers, consumer)
        assert (await probe.bounds([place]))[place].end == 0
        async with outsider.transaction():
            await outsider.send_and_wait(topic, b"committed", partition=0)
        await _until_end(probe, place, 2)
        received = await probe.received_at(place, 0, 2)
        assert received is not None
        assert began_ms - 1000 <= received <= time.time_ns() // 1_000_000 + 1000
        assert await probe.received_at(place, 1, 2) is None, "a marker is no record"

        await outsider.begin_transaction()
        await outsider.send_and_wait(topic, b"open", partition=0)
        assert (await probe.bounds([place]))[place].end == 2, "an open transaction is the end"
        await outsider.abort_transaction()
        await _until_end(probe, place, 4)
        assert await probe.received_at(place, 2, 4) is None, "an aborted record is no record"

        assert await probe.kept([topic]) == {topic: Kept(90_000, -1)}
        await set_topic(
            settings.kafka_servers, topic, {"retention.ms": "-1", "retention.bytes": "7000000"}
        )
        assert await probe.kept([topic]) == {topic: Kept(-1, 7_000_000)}


async def test_a_long_lag_costs_no_memory(settings: Settings) -> None:
    """One record is looked for in each partition, however many megabytes wait there.

    A batch is fetched whole; nothing of it is left afterwards, though the collector runs rarely.
    """
    topic = f"{settings.namespace}.long"
    places = [TopicPartition(topic, number) for number in range(8)]
    async with open_admin(settings.kafka_servers) as admin:
        await admin.create_topics([NewTopic(topic, len(places), 1)])
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka, max_batch_size=1_000_000, linger_ms=50
    ) as outsider:
        for place in places * 200:
            await outsider.send(topic, bytes(16_000), partition=place.partition)
        await outsider.flush()
    gaps = {place: Gap(10, 200) for place in places}
    async with open_asking(settings.kafka_servers) as consumer:
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(5):
                assert await find_records(consumer, gaps) == set(places)
            await asyncio.sleep(0.5)
            held, most = tracemalloc.get_traced_memory()
            assert held < 2_000_000
            assert most < 2_000_000 * len(places)
        finally:
            tracemalloc.stop()
            gc.enable()


async def _until_end(probe: KafkaProbe, place: TopicPartition, end: int) -> None:
    for _ in range(100):
        if (await probe.bounds([place]))[place].end == end:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the log does not end at {end}")
