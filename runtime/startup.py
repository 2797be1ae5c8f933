"""What every service checks before it works: Kafka and ClickHouse belong to the same log.

In: settings. Out: the log, or a sentence that says what is wrong. Never: something repaired; a wait
without an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from contracts.log import LOG_KEY, Log, decode_log
from contracts.tables import DEDUPLICATED, deduplication_window
from contracts.topics import Topics
from runtime.clickhouse import AsyncClient, ClickHouseError, connect
from runtime.kafka.admin import KafkaError, find_topic_faults, open_admin
from runtime.kafka.consumers import read_latest
from runtime.kafka.refusals import explain
from runtime.settings import Settings

_KAFKA_TIMEOUT_S = 30.0
_CLICKHOUSE_TIMEOUT_S = 20.0

_SELECT_LOG = "SELECT DISTINCT id, opens, closes, partitions FROM log"
_SELECT_TABLES = """
SELECT name FROM system.tables WHERE database = currentDatabase()
"""
_SELECT_ENGINES = """
SELECT name, engine_full FROM system.tables
WHERE database = currentDatabase() AND has({names:Array(String)}, name)
"""
_UNKNOWN_DATABASE = "UNKNOWN_DATABASE"
_MIGRATE = "Run `track migrate`."


class StartupError(Exception):
    """A service cannot start with these settings and servers; the message says why, and a way."""


class ServerAwayError(StartupError):
    """A server does not answer; a service that can wait for it may ask again."""


class NotLetInError(ServerAwayError):
    """A server refuses us, for a reason that stands in settings or rules."""


def is_only_away(error: StartupError) -> bool:
    """Whether a new start may cure it, with nothing changed by hand."""
    return isinstance(error, ServerAwayError) and not isinstance(error, NotLetInError)


async def require_log(
    settings: Settings, *, clickhouse: Literal["required", "if_reachable"] = "required"
) -> Log:
    """Return the log that Kafka and ClickHouse belong to, after checking that they fit together.

    Args:
        settings: which servers, and what the log must be.
        clickhouse: whether a ClickHouse that is away is an error, or is not asked.

    Raises:
        StartupError: a server is away, a topic or table is not as it must be, or the logs differ.
    """
    log = await _require_kafka_log(settings)
    try:
        async with asyncio.timeout(_CLICKHOUSE_TIMEOUT_S):
            await _check_clickhouse(settings, log)
    except (ClickHouseError, TimeoutError) as error:
        if _UNKNOWN_DATABASE in str(error):
            raise StartupError(
                f"ClickHouse has no database {settings.namespace}. {_MIGRATE}"
            ) from error
        if clickhouse == "required":
            raise ServerAwayError(
                f"ClickHouse does not answer: {str(error) or type(error).__name__}. "
                "Start it, or name another one with TRACK_CLICKHOUSE."
            ) from error
    return log


async def read_kafka_log(settings: Settings) -> Log | None:
    """Return the log that the topic `meta` names, or None if it names none.

    Raises:
        StartupError: what stands there is no log.
        KafkaError, TimeoutError: the broker does not answer.
    """
    topic = Topics.of(settings.namespace).meta
    value = (await read_latest(settings.kafka_servers, topic, 0)).get(LOG_KEY)
    try:
        return None if value is None else decode_log(value)
    except ValueError as error:
        raise StartupError(f"Topic {topic} holds something else than a log id: {error}.") from error


async def read_table_log(client: AsyncClient) -> Log | None:
    """Return the log that ClickHouse's table `log` names, or None if it names none.

    Raises:
        StartupError: it names several.
        ClickHouseError: the server does not answer, or the table is not there.
    """
    rows = (await client.query(_SELECT_LOG)).result_rows
    if len(rows) > 1:
        raise StartupError(
            "ClickHouse's table log names several logs; keep the row whose id the topic meta has."
        )
    return Log(*rows[0]) if rows else None


def describe_difference(settings: Settings, kafka: Log, table: Log | None) -> str | None:
    """Return a sentence on the first thing in which the logs and the settings differ, or None."""
    if table is None:
        return f"ClickHouse's table log is empty. {_MIGRATE}"
    if table != kafka:
        return (
            f"Kafka's log is {kafka.id} and ClickHouse's is {table.id}: one of them was made anew. "
            "Restore it, or use a new TRACK_NAMESPACE for both."
        )
    wanted = {
        "TRACK_OPENS": (settings.opens, kafka.opens),
        "TRACK_CLOSES": (settings.closes, kafka.closes),
        "TRACK_PARTITIONS": (settings.partitions, kafka.partitions),
    }
    for name, (setting, noted) in wanted.items():
        if setting != noted:
            return (
                f"{name} is {setting!r}, but this log was made with {noted!r}; it changes only "
                f"with a new log. Set {name}={noted}."
            )
    return None


async def _require_kafka_log(settings: Settings) -> Log:
    try:
        async with asyncio.timeout(_KAFKA_TIMEOUT_S):
            async with open_admin(settings.kafka_servers) as admin:
                faults = await find_topic_faults(admin, settings)
            if faults:
                raise StartupError("\n".join(faults))
            log = await read_kafka_log(settings)
    except (KafkaError, TimeoutError) as error:
        why = await explain(settings.kafka_servers, error)
        raise (NotLetInError if why.lasts else ServerAwayError)(why.sentence) from error
    if log is None:
        raise StartupError(f"Topic {settings.namespace}.meta has no log id. {_MIGRATE}")
    return log


async def _check_clickhouse(settings: Settings, log: Log) -> None:
    client = await connect(settings)
    try:
        tables = (await client.query(_SELECT_TABLES)).result_columns
        if not tables or "log" not in tables[0]:
            raise StartupError(f"ClickHouse has no table log. {_MIGRATE}")
        problem = describe_difference(settings, log, await read_table_log(client))
        problem = problem or await _find_window_fault(client, settings)
    finally:
        await client.close()
    if problem:
        raise StartupError(problem)


async def _find_window_fault(client: AsyncClient, settings: Settings) -> str | None:
    """Return a sentence on the first table that remembers fewer tokens than it must, or None."""
    rows = await client.query(_SELECT_ENGINES, parameters={"names": list(DEDUPLICATED)})
    engines: Mapping[str, str] = dict(rows.result_rows)
    needed = deduplication_window(settings.partitions, settings.inserts_per_second)
    for table in DEDUPLICATED:
        if table not in engines:
            return f"ClickHouse has no table {table}. {_MIGRATE}"
        window = window_of(engines[table])
        if window < needed:
            return (
                f"ClickHouse's table {table} remembers {window} deduplication tokens; it must "
                f"remember {needed}. {_MIGRATE}"
            )
    return None


def window_of(engine: str) -> int:
    """Return how many tokens a table remembers, by its `system.tables.engine_full`."""
    text = engine.partition("non_replicated_deduplication_window = ")[2].partition(",")[0]
    return int(text) if text else 0
