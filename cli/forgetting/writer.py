"""How far the writer is: what it has not inserted yet could bring a user back.

In: settings, offsets. Out: nothing, once every record before them is in its table. Never: a change;
a wait for a writer that makes no progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import Topics
from processors.writer.ranges import decode_mark
from processors.writer.rules import group_of
from processors.writer.standings import ask_raw_commits
from runtime.kafka.admin import open_admin, open_consumer
from runtime.settings import Settings
from runtime.startup import ServerAwayError, StartupError

_POLL_S = 0.3
_STALLED_S = 60.0
_FETCHES, _FETCH_WAIT_MS = 5, 200


async def outputs_of(settings: Settings, partition: int) -> dict[TopicPartition, int]:
    """Return where the topics end that may have records of a user of a partition.

    Any partition may have rejected something that names the user.
    """
    topics = Topics.of(settings.namespace)
    wheres = [
        TopicPartition(topics.accepted, partition),
        TopicPartition(topics.sessions, partition),
    ]
    wheres += [TopicPartition(topics.rejected, number) for number in range(settings.partitions)]
    # Not only what readers see by now: a moment ago something else may have been committed.
    async with open_consumer(settings.kafka_servers, uncommitted=True) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(wheres)
    return ends


async def committed_of(settings: Settings, where: TopicPartition) -> int:
    """Return the offset before which the writer has inserted everything.

    Raises:
        StartupError: a repair is at work.
    """
    async with open_admin(settings.kafka_servers) as admin:
        return (await _committed(admin, settings, [where]))[where]


async def wait_for_writer(settings: Settings, ends: Mapping[TopicPartition, int]) -> None:
    """Wait until the writer has inserted every record before these offsets.

    Raises:
        ServerAwayError: it has made no progress for a minute.
        StartupError: a repair is at work.
        KafkaError: the broker does not answer.
    """
    before, moved = dict[TopicPartition, int](), time.monotonic()
    async with (
        open_admin(settings.kafka_servers) as admin,
        open_consumer(settings.kafka_servers) as consumer,
    ):
        while True:
            committed = await _committed(admin, settings, list(ends))
            behind = [
                where
                for where, end in ends.items()
                if await _has_record(consumer, where, committed[where], end)
            ]
            if not behind:
                return
            if committed != before:
                before, moved = committed, time.monotonic()
            elif time.monotonic() - moved > _STALLED_S:
                raise ServerAwayError(_stalled(behind[0], committed[behind[0]], ends[behind[0]]))
            await asyncio.sleep(_POLL_S)


async def _committed(
    admin: AIOKafkaAdminClient, settings: Settings, wheres: list[TopicPartition]
) -> dict[TopicPartition, int]:
    commits = await ask_raw_commits(admin, group_of(settings.namespace), wheres)
    for where, (_, metadata) in commits.items():
        if decode_mark(metadata) is not None:
            raise StartupError(
                f"{where.topic}/{where.partition}: `track repair` has begun and not ended. Wait "
                "for its end, or, if it was cut off, run `track repair --yes` again; then run this."
            )
    return {where: offset or 0 for where, (offset, _) in commits.items()}


async def _has_record(
    consumer: AIOKafkaConsumer, where: TopicPartition, committed: int, end: int
) -> bool:
    """Tell whether a record lies between: the writer commits no marker behind the last one."""
    start = max(committed, (await consumer.beginning_offsets([where]))[where])
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


def _stalled(where: TopicPartition, committed: int, end: int) -> str:
    return (
        f"{where.topic}/{where.partition}: the writer is at offset {committed} of {end} and gets "
        "no further. The user is marked, so nothing of this is lost: start the writer, or see what "
        "holds it back, and run this again."
    )
