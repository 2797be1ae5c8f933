"""What is on its way is waited for: what is not processed or inserted yet could bring a user back.

In: settings, offsets. Out: nothing, once every record before them is processed, or in its table.
Never: a change; a wait for a service that makes no progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cli.forgetting.positions import read_positions
from contracts.groups import writer_group
from contracts.topics import Topics
from processors.writer.ranges import decode_mark
from processors.writer.standings import ask_raw_commits
from runtime.kafka.admin import open_admin
from runtime.kafka.consumers import learn, open_consumer, read_ends
from runtime.settings import Settings
from runtime.startup import ServerAwayError, StartupError

_POLL_S = 0.3
_STALLED_S = 60.0
_FETCHES, _FETCH_WAIT_MS = 50, 20

Offsets = Mapping[TopicPartition, int]


async def wait_for_sessionizers(settings: Settings) -> None:
    """Wait until what has been received by now is processed.

    Raises:
        ServerAwayError: the sessionizers have made no progress for a minute.
        KafkaError: the broker does not answer.
    """
    topic = Topics.of(settings.namespace).events
    wheres = [TopicPartition(topic, number) for number in range(settings.partitions)]
    ends = await read_ends(settings.kafka_servers, wheres)

    async def positions() -> Offsets:
        found = await read_positions(settings)
        return {where: found[where.partition] for where in ends}

    await _wait(settings, ends, positions, "Nothing is marked yet: start the sessionizer")


async def wait_for_writer(settings: Settings, partition: int) -> None:
    """Wait until what may be of a user of a partition is inserted, as far as it is there by now.

    Any partition may have rejected something that names the user.

    Raises:
        ServerAwayError: the writer has made no progress for a minute.
        StartupError: a repair is at work.
        KafkaError: the broker does not answer.
    """
    topics = Topics.of(settings.namespace)
    wheres = [TopicPartition(topic, partition) for topic in (topics.accepted, topics.sessions)]
    wheres += [TopicPartition(topics.rejected, number) for number in range(settings.partitions)]
    ends = await read_ends(settings.kafka_servers, wheres)
    async with open_admin(settings.kafka_servers) as admin:
        await _wait(
            settings,
            ends,
            lambda: _committed(admin, settings, wheres),
            "The user is marked, so nothing of this is lost: start the writer",
        )


async def committed_of(settings: Settings, where: TopicPartition) -> int:
    """Return the offset before which the writer has inserted everything.

    Raises:
        StartupError: a repair is at work.
    """
    async with open_admin(settings.kafka_servers) as admin:
        return (await _committed(admin, settings, [where]))[where]


async def _wait(
    settings: Settings, ends: Offsets, done: Callable[[], Awaitable[Offsets]], advice: str
) -> None:
    before: Offsets = {}
    moved = time.monotonic()
    async with open_consumer(settings.kafka_servers) as consumer:
        await learn(consumer, ends)
        while True:
            now = await done()
            behind = [
                where
                for where, end in ends.items()
                if await _has_record(consumer, where, now[where], end)
            ]
            if not behind:
                return
            if now != before:
                before, moved = now, time.monotonic()
            elif time.monotonic() - moved > _STALLED_S:
                where = behind[0]
                raise ServerAwayError(
                    f"{where.topic}/{where.partition} is done up to offset {now[where]} of "
                    f"{ends[where]}, and nobody goes on. {advice}, or see what holds it back, and "
                    "run this again."
                )
            await asyncio.sleep(_POLL_S)


async def _committed(
    admin: AIOKafkaAdminClient, settings: Settings, wheres: list[TopicPartition]
) -> Offsets:
    commits = await ask_raw_commits(admin, writer_group(settings.namespace), wheres)
    for where, (_, metadata) in commits.items():
        if decode_mark(metadata) is not None:
            raise StartupError(
                f"{where.topic}/{where.partition}: `track repair` has begun and not ended. Wait "
                "for its end, or, if it was cut off, run `track repair --yes` again; then run this."
            )
    return {where: offset or 0 for where, (offset, _) in commits.items()}


async def _has_record(
    consumer: AIOKafkaConsumer, where: TopicPartition, done: int, end: int
) -> bool:
    """Tell whether a record lies between: nobody notes a marker behind the last one as done."""
    start = max(done, (await consumer.beginning_offsets([where]))[where])
    if start >= end:
        return False
    consumer.assign([where])
    consumer.seek(where, start)
    for _ in range(_FETCHES):
        fetched = await consumer.getmany(where, timeout_ms=_FETCH_WAIT_MS, max_records=1)
        if records := fetched.get(where):
            return bool(records[0].offset < end)
        if await consumer.position(where) >= end:
            return False
    return True
