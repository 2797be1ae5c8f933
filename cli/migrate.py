"""`track migrate`: topics, tables and the log id that ties them together. May be run at any time.

In: settings. Out: everything that the services need, and lines that say what was done. Never: an
existing topic altered, a log id replaced. A run that was cut off anywhere is finished by the next.

The order: topics → tables → first positions and the log id, in one Kafka transaction → the log id
in ClickHouse. Services refuse to start before the last step.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from cli.fencing import run_fenceable
from cli.migrations import MigrationError, apply_migrations, create_database, read_migrations
from cli.table_settings import apply_table_settings
from contracts.log import FIRST_POSITION, LOG_KEY, POSITION_KEY, Log, encode_log
from contracts.tables import DEDUPLICATED
from contracts.topics import Topics
from runtime.clickhouse import AsyncClient, ClickHouseError, OperationalError, connect
from runtime.kafka.admin import (
    KafkaError,
    create_topics,
    find_topic_faults,
    list_missing_topics,
    open_admin,
    wait_for_leaders,
)
from runtime.kafka.consumers import sum_ends
from runtime.kafka.refusals import explain_failure
from runtime.settings import Settings
from runtime.startup import StartupError, describe_difference, read_kafka_log, read_table_log

WAIT_S = 60.0
_RETRY_S = 0.5
# A run that was paused for longer is fenced, and its transaction aborted by the broker.
_TRANSACTION_TIMEOUT_MS = 15_000

_INSERT_LOG = """
INSERT INTO log (id, opens, closes, partitions)
SELECT {id:String}, {opens:String}, {closes:String}, {partitions:UInt16}
WHERE (SELECT count() FROM log) = 0
"""
_COUNT_ROWS = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND has({names:Array(String)}, name) AND total_rows > 0
ORDER BY name
"""

Result = TypeVar("Result")


def migrate(settings: Settings) -> None:
    """Bring Kafka and ClickHouse to what this version and the settings need, and say what was done.

    Raises:
        StartupError: something is not as it must be; the message says what and what to do.
    """
    try:
        changes = run_fenceable(run_migrations(settings))
    except MigrationError as error:
        raise StartupError(str(error)) from error
    for change in changes or ["nothing to do: topics and tables are as they must be"]:
        click.echo(f"migrate: {change}")


async def run_migrations(settings: Settings, *, wait_s: float = WAIT_S) -> list[str]:
    """Do what `migrate` does; return what was changed, as short sentences.

    Args:
        settings: what to bring the servers to.
        wait_s: how long to wait for servers that do not answer yet.

    Raises:
        StartupError, MigrationError: something is not as it must be.
    """
    deadline = time.monotonic() + wait_s
    changes = await _wait_for(
        deadline,
        KafkaError,
        lambda error: explain_failure(settings.kafka_servers, error),
        lambda: _bring_topics(settings),
    )
    client = await _wait_for(
        deadline, ClickHouseError, _explain_clickhouse, lambda: _open(settings)
    )
    try:
        changes += await _bring_tables(client, settings)
        changes += await _bring_log(client, settings)
    except ProducerFenced as error:
        raise StartupError(
            "Another `track migrate` began meanwhile and goes on; run it again when that has ended."
        ) from error
    except (KafkaError, ClickHouseError, TimeoutError) as error:
        raise StartupError(
            f"A server failed during the migration ({str(error) or type(error).__name__}); "
            "run it again: it goes on where it was."
        ) from error
    finally:
        await client.close()
    return changes


async def _wait_for(
    deadline: float,
    away: type[Exception],
    explain: Callable[[Exception], Awaitable[str]],
    attempt: Callable[[], Awaitable[Result]],
) -> Result:
    """Repeat the attempt while the server is away; no longer than to the deadline."""
    while True:
        try:
            async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                return await attempt()
        except (away, TimeoutError) as error:
            if not _may_pass(error) or time.monotonic() + _RETRY_S > deadline:
                raise StartupError(await explain(error)) from error
        await asyncio.sleep(_RETRY_S)


async def _explain_clickhouse(error: Exception) -> str:
    why = str(error) or type(error).__name__
    return f"ClickHouse (TRACK_CLICKHOUSE) does not work: {why}. Start it, or name another one."


def _may_pass(error: Exception) -> bool:
    """Tell whether an error may be gone later: nobody answers yet, rather than somebody refuses."""
    if isinstance(error, KafkaError):
        return bool(error.retriable)
    return isinstance(error, OperationalError | TimeoutError)


async def _bring_topics(settings: Settings) -> list[str]:
    async with open_admin(settings.kafka_servers) as admin:
        missing = await list_missing_topics(admin, settings)
        if missing:
            await create_topics(admin, settings, missing)
            await wait_for_leaders(admin, settings)
        faults = await find_topic_faults(admin, settings)
    if faults:
        raise StartupError("\n".join(faults))
    return [f"topic {topic} made" for topic in missing]


async def _open(settings: Settings) -> AsyncClient:
    first = await connect(settings, database="default")
    try:
        await create_database(first, settings.namespace)
    finally:
        await first.close()
    return await connect(settings)


async def _bring_tables(client: AsyncClient, settings: Settings) -> list[str]:
    applied = await apply_migrations(client, read_migrations())
    changed = await apply_table_settings(client, settings)
    return [f"{name} applied" for name in applied] + changed


async def _bring_log(client: AsyncClient, settings: Settings) -> list[str]:
    """Make the log id if there is none anywhere, finish what was cut off, refuse what differs."""
    async with asyncio.timeout(WAIT_S):
        log, made = await _bring_kafka_log(client, settings)
    known = await read_table_log(client)
    noted = known is None
    if known is None:
        await _refuse_foreign_rows(client, f"Topic {settings.namespace}.meta has a log id")
        await client.command(
            _INSERT_LOG,
            parameters={
                "id": log.id,
                "opens": log.opens,
                "closes": log.closes,
                "partitions": log.partitions,
            },
        )
        known = await read_table_log(client)
    problem = describe_difference(settings, log, known)
    if problem:
        raise StartupError(problem)
    if made:
        return [f"log {log.id} made"]
    return [f"log {log.id} noted in ClickHouse"] if noted else []


async def _bring_kafka_log(client: AsyncClient, settings: Settings) -> tuple[Log, bool]:
    """Return Kafka's log id, made now if there was none, and whether it was.

    Starting the transactional producer ends what another run has left open and fences it: of two
    runs at once, one makes the id and the other reads it or fails.
    """
    producer = AIOKafkaProducer(
        **settings.kafka_servers.client_arguments(),
        transactional_id=f"{settings.namespace}-migrate",
        transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
    )
    try:
        await producer.start()
        log = await read_kafka_log(settings)
        if log is not None:
            return log, False
        await _refuse_old_outputs(client, settings)
        log = Log(uuid.uuid4().hex, settings.opens, settings.closes, settings.partitions)
        await _write_log(producer, settings, log)
        return log, True
    finally:
        await producer.stop()


async def _refuse_old_outputs(client: AsyncClient, settings: Settings) -> None:
    """Refuse to make a log id where rows or records of another log lie."""
    topics = Topics.of(settings.namespace)
    if await read_table_log(client) is not None:
        raise StartupError(
            f"ClickHouse's database {settings.namespace} belongs to a log that Kafka does not have:"
            " the topics were made anew. Restore the topics, or use a new TRACK_NAMESPACE, or drop "
            "the database if its data is not needed."
        )
    await _refuse_foreign_rows(client, f"Topic {topics.meta} has no log id")
    outputs = (
        topics.accepted,
        topics.sessions,
        topics.rejected,
        topics.replayed,
        topics.forgotten,
    )
    for topic, records in (await sum_ends(settings.kafka_servers, outputs)).items():
        if records:
            raise StartupError(
                f"Topic {topic} has records, but topic {topics.meta} has no log id: it was made "
                "anew. Restore it, or use a new TRACK_NAMESPACE, or delete all the topics."
            )


async def _refuse_foreign_rows(client: AsyncClient, why: str) -> None:
    names = list(DEDUPLICATED)
    filled = (await client.query(_COUNT_ROWS, parameters={"names": names})).first_row
    if filled:
        raise StartupError(
            f"{why}, and ClickHouse's table log is empty, but its table {filled[0]} has rows: the "
            "database belongs to another log. Restore it whole, or use a new TRACK_NAMESPACE."
        )


async def _write_log(producer: AIOKafkaProducer, settings: Settings, log: Log) -> None:
    """Write every partition's first position and, last of all, the log id; all or nothing."""
    topics = Topics.of(settings.namespace)
    async with producer.transaction():
        for partition in range(settings.partitions):
            await producer.send_and_wait(
                topics.state, key=POSITION_KEY, value=FIRST_POSITION, partition=partition
            )
        await producer.send_and_wait(topics.meta, key=LOG_KEY, value=encode_log(log), partition=0)
