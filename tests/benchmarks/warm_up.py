"""A warm broker: a Java program is slow for its first half minute, and no measurement is about
that.

In: bootstrap servers, seconds. Out: nothing. Never: a topic of a namespace that is measured.
"""

from __future__ import annotations

import asyncio
import secrets
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

_PARTITIONS = 4
_SENDERS = 64
_VALUE = b'{"event":"play","user_id":"warm-up","metadata":{"song_id":"song-1"}}'
_BATCH_RECORDS = 2_000


async def warm_up(servers: str, seconds: float) -> None:
    """Write small batches, then transactions, and read both, for so many seconds in all."""
    topic = f"warm_up_{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])
        await _send_singly(servers, topic, time.monotonic() + seconds / 3)
        await _send_transactions(servers, topic, time.monotonic() + seconds / 3)
        await _read(servers, topic, time.monotonic() + seconds / 3)
        await admin.delete_topics([topic])
    finally:
        await admin.close()


async def _send_singly(servers: str, topic: str, until: float) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await producer.start()

    async def send(number: int) -> None:
        while time.monotonic() < until:
            await producer.send_and_wait(topic, _VALUE, partition=number % _PARTITIONS)

    try:
        await asyncio.gather(*map(send, range(_SENDERS)))
    finally:
        await producer.stop()


async def _send_transactions(servers: str, topic: str, until: float) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        transactional_id=topic,
        compression_type="zstd",
        max_batch_size=900_000,
    )
    await producer.start()
    try:
        while time.monotonic() < until:
            async with producer.transaction():
                for partition in range(_PARTITIONS):
                    builder = producer.create_batch()
                    for _ in range(_BATCH_RECORDS):
                        builder.append(timestamp=None, key=None, value=_VALUE)
                    await (await producer.send_batch(builder, topic, partition=partition))
    finally:
        await producer.stop()


async def _read(servers: str, topic: str, until: float) -> None:
    partitions = [TopicPartition(topic, number) for number in range(_PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        while time.monotonic() < until:
            for where in partitions:
                consumer.seek(where, 0)
            while time.monotonic() < until and await consumer.getmany(timeout_ms=200):
                pass
    finally:
        await consumer.stop()
