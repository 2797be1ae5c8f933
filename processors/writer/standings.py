"""Where the assigned partitions stand: asked of Kafka and of every table, on each assignment.

In: the partitions. Out: a `Standing` for each, that is possible. Never: a guess while ClickHouse is
away: it is asked until it answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.log import Log
from contracts.tables import BaseTable
from processors.writer.failures import Failure, failure_of
from processors.writer.ranges import Intent, decode_intent, decode_mark
from processors.writer.standing import FaultError, Standing, require_possible
from processors.writer.storage import Storage
from runtime.clickhouse import ClickHouseError
from runtime.kafka.admin import open_admin, read_group_offsets
from runtime.kafka.servers import KafkaServers

_PAUSE_S = 1.0
_NO_OFFSET = -1

log = logging.getLogger(__name__)


async def read_standings(
    partitions: Sequence[TopicPartition],
    *,
    servers: KafkaServers,
    group: str,
    consumer: AIOKafkaConsumer,
    storage: Storage,
    tables: Mapping[str, BaseTable],
    log_of_kafka: Log,
) -> dict[TopicPartition, Standing]:
    """Return where each partition stands; `tables` are the base tables by topic.

    Raises:
        FaultError: a partition cannot stand like this, or ClickHouse belongs to another log.
        KafkaError: Kafka refuses to tell.
        ClickHouseError: ClickHouse refuses for a reason that waiting does not change.
    """
    heights = await _read_heights(storage, partitions, tables, log_of_kafka)
    committed = await read_commits(servers, group, partitions)
    starts = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    standings = {}
    for where in partitions:
        standing = standing_of(*committed[where], starts[where], ends[where], heights[where])
        require_possible(f"{where.topic}/{where.partition}", standing)
        standings[where] = standing
    return standings


def standing_of(
    committed: int | None, intent: Intent | None, log_start: int, log_end: int, heights: Heights
) -> Standing:
    """Return where a partition stands, by its commit, its log's ends and its tables."""
    rows, refused, forgotten, rollups = heights
    return Standing(
        committed=committed,
        intent=intent,
        log_start=log_start,
        log_end=log_end,
        rows=rows,
        refused=refused,
        rollups=rollups,
        forgotten=forgotten,
    )


async def read_commits(
    servers: KafkaServers, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int | None, Intent | None]]:
    """Return each partition's committed offset, if there is one, and the intent beside it.

    Raises:
        FaultError: another program commits for the group.
        KafkaError: Kafka refuses to tell.
    """
    commits = await read_raw_commits(servers, group, partitions)
    return {
        where: (offset, _intent_of(where, metadata))
        for where, (offset, metadata) in commits.items()
    }


async def read_raw_commits(
    servers: KafkaServers, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int | None, str]]:
    """Return each partition's committed offset, if there is one, and the metadata beside it.

    Raises:
        KafkaError: Kafka refuses to tell.
    """
    async with open_admin(servers) as admin:
        return await ask_raw_commits(admin, group, partitions)


async def ask_raw_commits(
    admin: AIOKafkaAdminClient, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int | None, str]]:
    """Do what `read_raw_commits` does, over a connection that is open."""
    found = await read_group_offsets(admin, group, partitions)
    commits: dict[TopicPartition, tuple[int | None, str]] = {}
    for where in partitions:
        offset, metadata = found[where]
        commits[where] = (None if offset == _NO_OFFSET else offset, metadata or "")
    return commits


Heights = tuple[int | None, int | None, int | None, dict[str, int | None]]
"""The highest offset in the base table, of refused and of forgotten rows, and in each rollup."""


async def _read_heights(
    storage: Storage,
    partitions: Sequence[TopicPartition],
    tables: Mapping[str, BaseTable],
    log_of_kafka: Log,
) -> dict[TopicPartition, Heights]:
    while True:
        try:
            await _require_same_log(storage, log_of_kafka)
            heights: dict[TopicPartition, Heights] = {}
            for topic, base in tables.items():
                numbers = [where.partition for where in partitions if where.topic == topic]
                if numbers:
                    heights |= await heights_of_topic(storage, base, topic, numbers)
            return heights
        except ClickHouseError as error:
            if failure_of(error) is not Failure.TRANSIENT:
                raise
            log.warning("ClickHouse does not say how far its tables are, asking again: %s", error)
        await asyncio.sleep(_PAUSE_S)


async def heights_of_topic(
    storage: Storage, base: BaseTable, topic: str, numbers: Sequence[int]
) -> dict[TopicPartition, Heights]:
    """Return how far the tables of a topic are, by partition.

    Raises:
        ClickHouseError: ClickHouse does not tell.
    """
    rows = await storage.heights(base, topic, numbers)
    refused = await storage.refused_heights(topic, numbers)
    forgotten = await storage.forgotten_heights(base, topic, numbers)
    rollups = {each.name: await storage.rollup_heights(each, numbers) for each in base.rollups}
    return {
        TopicPartition(topic, number): (
            rows.get(number),
            refused.get(number),
            forgotten.get(number),
            {name: found.get(number) for name, found in rollups.items()},
        )
        for number in numbers
    }


async def _require_same_log(storage: Storage, log_of_kafka: Log) -> None:
    ids = await storage.log_ids()
    if ids != [log_of_kafka.id]:
        raise FaultError(
            f"ClickHouse's table log names {', '.join(ids) or 'no log'}, but the topics belong to "
            f"{log_of_kafka.id}: one of them was made anew. Run `track migrate`."
        )


def _intent_of(where: TopicPartition, metadata: str) -> Intent | None:
    try:
        return decode_intent(metadata)
    except ValueError as error:
        name = f"{where.topic}/{where.partition}"
        if decode_mark(metadata) is not None:
            raise FaultError(
                f"{name}: `track repair` has begun and not ended. Wait for its end; if it was cut "
                "off, run `track repair --yes` again."
            ) from error
        raise FaultError(
            f"{name}: the group's offset carries {metadata!r}, which this writer did not write; "
            "another program commits for the same group. Stop it, then run `track repair`."
        ) from error
