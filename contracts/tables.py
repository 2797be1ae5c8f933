"""The tables that the writer fills: which topic goes where, and what is derived from which table.

In: nothing. Out: names, and the statements that fill a rollup from the rows or count it again.
Never: a connection.

The definitions themselves stand in `deploy/clickhouse/*.sql`; a view's SELECT is asked of
ClickHouse (`system.tables.as_select`), so that it is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rollup:
    """A table filled by a materialized view; its rows say how far it has got (`last_offset`).

    `key` are the columns that it adds up by, beside `kafka_partition`; `states` are those that it
    adds up, each with the aggregate function that gives its number (with the combinator -If).
    `keeps_forgotten` says that it goes on counting rows of users who are forgotten.
    """

    name: str
    view: str
    key: tuple[str, ...]
    states: Mapping[str, str]
    keeps_forgotten: bool = False


@dataclass(frozen=True, slots=True)
class BaseTable:
    """A table that takes the rows of one topic, its twin that keeps nothing, and its rollups.

    The twin has the same columns, the Null engine and no views: it refuses what the table would
    refuse. `names_topic` says that rows of several topics may lie in it (`kafka_topic`). `bucket`
    is the expression that gives a row's bucket, as its rollups' views have it. `forgotten` is the
    table that keeps what is left of rows of users who are forgotten, and `left` its columns, each
    with the expression that makes it of a row.
    """

    name: str
    twin: str
    forgotten: str
    left: Mapping[str, str]
    rollups: tuple[Rollup, ...] = ()
    names_topic: bool = False
    bucket: str = ""


_PLACE = {"kafka_partition": "kafka_partition", "kafka_offset": "kafka_offset"}
# Not the moment, which might tell who it was.
_END_OF_DAY = {"received_at": "toDateTime64(toStartOfDay(received_at) + INTERVAL 1 DAY, 3, 'UTC')"}
_QUARTER = "toDateTime64(toStartOfFifteenMinutes({0}), 3, 'UTC')"


EVENTS = BaseTable(
    "events",
    "events_refusals",
    "events_forgotten",
    {"timestamp": _QUARTER.format("timestamp"), "event": "event", **_END_OF_DAY, **_PLACE},
    (
        Rollup(
            "event_counts_15m",
            "event_counts_15m_view",
            ("bucket", "event"),
            {
                "events": "sumIf",
                "users_state": "uniqCombined64MergeIf(14)",
                "last_offset": "maxIf",
            },
            keeps_forgotten=True,
        ),
        Rollup(
            "user_counts_15m",
            "user_counts_15m_view",
            ("user_id", "bucket", "event"),
            {"events": "sumIf", "last_offset": "maxIf"},
        ),
    ),
    bucket="toStartOfFifteenMinutes(timestamp)",
)
SESSIONS = BaseTable(
    "sessions",
    "sessions_refusals",
    "sessions_forgotten",
    {
        "started_at": _QUARTER.format("started_at"),
        "duration_ms": "duration_ms",
        **_END_OF_DAY,
        **_PLACE,
    },
    (
        Rollup(
            "session_stats_15m",
            "session_stats_15m_view",
            ("bucket",),
            {
                "sessions": "sumIf",
                "duration_ms": "sumIf",
                "shortest_ms": "minIf",
                "longest_ms": "maxIf",
                "users_state": "uniqCombined64MergeIf(14)",
                "last_offset": "maxIf",
            },
            keeps_forgotten=True,
        ),
    ),
    bucket="toStartOfFifteenMinutes(started_at)",
)
REJECTED_EVENTS = BaseTable(
    "rejected_events",
    "rejected_events_refusals",
    "rejected_events_forgotten",
    {**_END_OF_DAY, "kafka_topic": "kafka_topic", **_PLACE},
    names_topic=True,
)

_USERS = "users_state"

BASE_TABLES = (EVENTS, SESSIONS, REJECTED_EVENTS)
# By the field of `contracts.topics.Topics` that names the topic.
TABLE_OF_TOPIC: Mapping[str, BaseTable] = {
    "accepted": EVENTS,
    "sessions": SESSIONS,
    "rejected": REJECTED_EVENTS,
}
# The tables that remember deduplication tokens: a view's target remembers its own.
DEDUPLICATED = tuple(
    name for base in BASE_TABLES for name in (base.name, *(each.name for each in base.rollups))
)

# How long a token must be remembered: what is inserted again later goes by the highest offsets.
TOKEN_MEMORY_SECONDS = 3600
# One insert makes a part for each table partition that it touches: two around midnight.
PARTS_PER_INSERT = 2


def deduplication_window(partitions: int, inserts_per_second: int) -> int:
    """Return how many tokens a table must remember; the window counts parts of the whole table."""
    return PARTS_PER_INSERT * partitions * inserts_per_second * TOKEN_MEMORY_SECONDS


# A view's own SELECT, which the statements below are made from; `view` is left to be bound.
SELECT_VIEW = """
SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = {view:String}
"""


def fill_statement(database: str, base: BaseTable, rollup: Rollup, as_select: str) -> str:
    """Return the INSERT that fills a rollup from a range of its base table's rows.

    `as_select` is `system.tables.as_select` of the rollup's view. The parameters `partition`,
    `first` and `last` (both inclusive, offsets) are left to be bound.

    Raises:
        ValueError: the SELECT does not read the base table in exactly one place.
    """
    rows = (
        f"SELECT * FROM {_counted(database, base, rollup)} "  # noqa: S608 - names of ours
        "WHERE kafka_partition = {partition:UInt16}"
        " AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}"
    )
    return _fill(database, base, rollup, as_select, rows)


def refill_statement(database: str, base: BaseTable, rollup: Rollup, as_select: str) -> str:
    """Return the INSERT that fills some buckets of a rollup from their rows.

    Arguments and errors as of `fill_statement`; the parameters are `partition` and `buckets`.
    """
    rows = (
        f"SELECT * FROM {_counted(database, base, rollup)} "  # noqa: S608 - names of ours
        "WHERE kafka_partition = {partition:UInt16}"
        f" AND toUnixTimestamp({base.bucket}) IN {{buckets:Array(UInt32)}}"
    )
    return _fill(database, base, rollup, as_select, rows)


def bucket_sizes_statement(database: str, base: BaseTable, rollup: Rollup) -> str:
    """Return the SELECT of how many rows a rollup's buckets count, by their second.

    Its parameters are `partition` and `buckets`, as those of `refill_statement`.
    """
    return (
        f"SELECT toUnixTimestamp({base.bucket}) AS at, count() "  # noqa: S608 - names of ours
        f"FROM {_counted(database, base, rollup)} "
        "WHERE kafka_partition = {partition:UInt16} AND at IN {buckets:Array(UInt32)} "
        "GROUP BY at ORDER BY at"
    )


def add_statement(database: str, base: BaseTable, rollup: Rollup, as_select: str) -> str:
    """Return the INSERT that adds to a rollup's buckets the rows behind the last one they count.

    Arguments and errors as of `fill_statement`; the parameters are those of `uncounted_statement`.
    """
    return _fill(database, base, rollup, as_select, _uncounted(database, base, rollup))


def uncounted_statement(database: str, base: BaseTable, rollup: Rollup) -> str:
    """Return the SELECT of how many rows lie behind the last one that their bucket counts.

    Its parameters are `partition`, `since` and `remembered`: it asks for the buckets before `since`
    and for rows received from `remembered` on (both in seconds). What was received earlier, the
    rollup may have forgotten.
    """
    return f"SELECT count() FROM ({_uncounted(database, base, rollup)})"  # noqa: S608


def recount_statement(database: str, base: BaseTable, rollup: Rollup, as_select: str) -> str:
    """Return the SELECT of what differs between a rollup and its base table's rows.

    `as_select` is `system.tables.as_select` of the rollup's view. Each row of the answer is a key,
    then what the rows give and what the rollup has, column by column. The parameters `partition`,
    `since` (both sides must agree in the buckets from this second on), `least` and `limit` are left
    to be bound: with `least` the buckets before `since` are compared instead, where the rollup may
    count rows that are gone, but not fewer.
    """
    key = ", ".join(rollup.key)
    return f"{_recount(database, base, rollup, as_select)}\nORDER BY {key}\nLIMIT {{limit:UInt32}}"


def differing_statement(database: str, base: BaseTable, rollup: Rollup, as_select: str) -> str:
    """Return the SELECT of the buckets in which `recount_statement` finds something.

    Beside each bucket (in seconds) it says whether the rows give less of anything than the rollup.
    """
    recount = _recount(database, base, rollup, as_select)
    counted = next(iter(rollup.states))
    return (
        f"SELECT toUnixTimestamp(bucket) AS at, max(rows_{counted} < rollup_{counted}) "  # noqa: S608
        f"FROM ({recount}) GROUP BY at ORDER BY at"
    )


def _fill(database: str, base: BaseTable, rollup: Rollup, as_select: str, rows: str) -> str:
    """Return the INSERT of what the view's SELECT makes of these rows instead of the table's."""
    select = _of_other_rows(database, base, rollup, as_select, f"({rows})")
    return f"INSERT INTO {database}.{rollup.name} {select}"


def _of_other_rows(
    database: str, base: BaseTable, rollup: Rollup, as_select: str, rows: str
) -> str:
    """Return the view's SELECT, reading these rows instead of the table's."""
    source = f"FROM {database}.{base.name}"
    if as_select.count(source) != 1:
        raise ValueError(f"{rollup.view} does not read {database}.{base.name} in one place")
    return as_select.replace(source, f"FROM {rows} AS {base.name}")


def _counted(database: str, base: BaseTable, rollup: Rollup) -> str:
    """Return the source of all that a rollup counts: the rows, and perhaps what is left of some."""
    if not rollup.keeps_forgotten:
        return f"{database}.{base.name}"
    columns = ", ".join(base.left)
    return (
        f"(SELECT user_id, {columns} FROM {database}.{base.name} "  # noqa: S608 - names of ours
        f"UNION ALL SELECT * FROM {_left(database, base)})"
    )


def _left(database: str, base: BaseTable) -> str:
    """Return the source of what is left of rows that are gone: an empty text is the user of all.

    While users are being forgotten, a row and what is to be left of it are both there.
    """
    columns, place = ", ".join(base.left), "(kafka_partition, kafka_offset)"
    left = f"{database}.{base.forgotten}"
    return (
        f"(SELECT DISTINCT '' AS user_id, {columns} FROM {left} "  # noqa: S608 - names of ours
        f"WHERE {place} NOT IN (SELECT {place} FROM {database}.{base.name} "
        f"WHERE {place} IN (SELECT {place} FROM {left})))"
    )


def _uncounted(database: str, base: BaseTable, rollup: Rollup) -> str:
    """Return the SELECT of the rows that lie behind the last one that their bucket counts.

    A rollup takes a partition's rows in the order of their offsets, so a bucket counts everything
    up to its `last_offset`.
    """
    return f"""
        SELECT rows.* FROM {_counted(database, base, rollup)} AS rows LEFT JOIN (
            SELECT toUnixTimestamp(bucket) AS at, max(last_offset) + 1 AS next
            FROM {database}.{rollup.name}
            WHERE kafka_partition = {{partition:UInt16}} AND at < {{since:UInt32}}
            GROUP BY at
        ) AS counted ON counted.at = toUnixTimestamp({base.bucket})
        WHERE kafka_partition = {{partition:UInt16}}
        AND toUnixTimestamp({base.bucket}) < {{since:UInt32}}
        AND toUnixTimestamp(received_at) >= {{remembered:UInt32}} AND kafka_offset >= counted.next
    """  # noqa: S608 - names of ours


def _recount(database: str, base: BaseTable, rollup: Rollup, as_select: str) -> str:
    columns = ", ".join((*rollup.key, *rollup.states))
    counted = _number(rollup, next(iter(rollup.states)))
    differs = " OR ".join(_differs(rollup, state) for state in rollup.states)
    numbers = ", ".join(
        f"{side} AS {name}_{state}"
        for state in rollup.states
        for name, side in zip(("rows", "rollup"), _number(rollup, state), strict=True)
    )
    key = ", ".join(rollup.key)
    left = ""
    if rollup.keeps_forgotten:
        select = _of_other_rows(database, base, rollup, as_select, _left(database, base))
        left = f"""
    UNION ALL
    SELECT {columns}, true AS of_rows, true AS of_forgotten FROM ({select})
    WHERE kafka_partition = {{partition:UInt16}}"""  # noqa: S608 - names of ours
    return f"""
SELECT {key}, {numbers}
FROM (
    SELECT {columns}, true AS of_rows, false AS of_forgotten FROM ({as_select})
    WHERE kafka_partition = {{partition:UInt16}}{left}
    UNION ALL
    SELECT {columns}, false AS of_rows, false AS of_forgotten FROM {database}.{rollup.name}
    WHERE kafka_partition = {{partition:UInt16}}
)
WHERE (bucket >= toDateTime({{since:UInt32}}, 'UTC')) != {{least:Bool}}
GROUP BY {key}
HAVING if({{least:Bool}}, {counted[0]} > {counted[1]}, {differs})"""  # noqa: S608 - names of ours


def _differs(rollup: Rollup, state: str) -> str:
    """Return the condition that rows and rollup give different numbers.

    How many different users there were, nobody can tell where some are forgotten.
    """
    condition = "{} != {}".format(*_number(rollup, state))
    return f"({condition} AND NOT max(of_forgotten))" if state == _USERS else condition


def _number(rollup: Rollup, state: str) -> tuple[str, str]:
    """Return the expressions of a number by the rows, and by the rollup."""
    function = rollup.states[state]
    return f"{function}({state}, of_rows)", f"{function}({state}, NOT of_rows)"
