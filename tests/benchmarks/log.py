"""Kafka from the benchmark's side: records written before the clock starts, and held back till
then.

In: records by partition. Out: the topics filled, offsets, times. Never: a record of the measured
service's own making.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.processes import Running, last_lines
from runtime.settings import Settings
from tests.benchmarks.figures import BenchmarkError

MAX_BATCH_BYTES = 900_000
_JOINED_WITHIN_S = 30.0
_SETTLED_S = 2.0
_DAM_S = 60  # the most that a broker grants a transaction
_REST_S = 1.5

Records = Sequence[tuple[bytes, bytes]]


class Dam:
    """An open transaction in front of the records: nobody who reads committed sees them.

    So the records lie in the log, and the readers wait before it, when the clock is started by
    `open`. The dam breaks by itself after a minute.
    """

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def open(self) -> None:
        """Let the readers in: the transaction is aborted, and its own records are never seen."""
        await self._producer.abort_transaction()


@asynccontextmanager
async def dam(settings: Settings, topic: str) -> AsyncIterator[Dam]:
    """Build a dam at the present end of each partition of a topic."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka,
        transactional_id=f"{topic}.dam",
        transaction_timeout_ms=_DAM_S * 1000,
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        for partition in range(settings.partitions):
            await producer.send_and_wait(topic, b"dam", partition=partition)
        yield Dam(producer)
    finally:
        await producer.stop()


async def write(
    settings: Settings,
    topic: str,
    records: Sequence[Records],
    *,
    compression: str | None = None,
) -> None:
    """Write each partition's records (key, value), in large batches."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka,
        acks="all",
        compression_type=compression,
        max_batch_size=MAX_BATCH_BYTES,
    )
    await producer.start()
    try:
        for partition, each in enumerate(records):
            await _write_partition(producer, topic, partition, each)
    finally:
        await producer.stop()


async def _write_partition(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Records
) -> None:
    builder, sent = producer.create_batch(), []
    for key, value in records:
        if builder.append(timestamp=None, key=key, value=value) is None:
            sent.append(await producer.send_batch(builder, topic, partition=partition))
            builder = producer.create_batch()
            builder.append(timestamp=None, key=key, value=value)
    if builder.record_count():
        sent.append(await producer.send_batch(builder, topic, partition=partition))
    await asyncio.gather(*sent)


async def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the end of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
        ends = await consumer.end_offsets(partitions)
        return {where.partition: end for where, end in ends.items()}
    finally:
        await consumer.stop()


async def wait_for_records(
    settings: Settings, topic: str, count: int, seconds: float, *writers: Running
) -> None:
    """Wait until processes have written so many records, and then nothing for a while.

    The marks of transactions are counted in, hence the rest after the last record.

    Raises:
        BenchmarkError: one of them has ended.
        TimeoutError: they are not all there in time.
    """
    before, resting_since = -1, time.monotonic()
    async with asyncio.timeout(seconds):
        while before < count or time.monotonic() - resting_since < _REST_S:
            await asyncio.sleep(0.25)
            written = sum((await end_offsets(settings, topic)).values())
            if written != before:
                before, resting_since = written, time.monotonic()
            for each in writers:
                if each.exit_code is not None:
                    log = each.program.log
                    raise BenchmarkError(f"{log.stem} ended ({each.exit_code}): {last_lines(log)}")


async def wait_until_joined(settings: Settings, group: str, workers: int) -> None:
    """Wait until a group has had so many members, and no change, for a while."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        async with asyncio.timeout(_JOINED_WITHIN_S):
            stable_since = time.monotonic()
            while time.monotonic() - stable_since < _SETTLED_S:
                response = (await admin.describe_consumer_groups([group]))[0]
                _, _, state, _, _, members = response.groups[0][:6]
                if state != "Stable" or len(members) != workers:
                    stable_since = time.monotonic()
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


async def wait_for_group_offsets(
    settings: Settings, group: str, topic: str, offsets: Mapping[int, int], seconds: float
) -> None:
    """Wait until a group has committed these offsets.

    Raises:
        TimeoutError: it has not in time.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        async with asyncio.timeout(seconds):
            while True:
                if _has_reached(await admin.list_consumer_group_offsets(group), topic, offsets):
                    return
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


def _has_reached(committed: Mapping[Any, Any], topic: str, offsets: Mapping[int, int]) -> bool:
    return all(
        (found := committed.get(TopicPartition(topic, partition))) and found.offset >= offset
        for partition, offset in offsets.items()
    )


def seconds_between(records: Mapping[int, Sequence[Any]]) -> float:
    """Return the seconds from the first to the last time of records, over all partitions."""
    times = [record.timestamp for each in records.values() for record in each]
    return float(max(times) - min(times)) / 1000
