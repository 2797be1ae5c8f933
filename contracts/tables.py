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
    """

    name: str
    view: str
    key: tuple[str, ...]
    states: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BaseTable:
    """A table that takes the rows of one topic, its twin that keeps nothing, and its rollups.

    The twin has the same columns, the Null engine and no views: it refuses what the table would
    refuse. `names_topic` says that rows of several topics may lie in it (`kafka_topic`).
    """

    name: str
    twin: str
    rollups: tuple[Rollup, ...] = ()
    names_topic: bool = False


EVENTS = BaseTable(
    "events",
    "events_refusals",
    (
        Rollup(
            "event_counts_15m",
            "event_counts_15m_view",
            ("bucket", "event"),
            {"events": "sumIf", "users_state": "uniqCombined64MergeIf(14)"},
        ),
        Rollup(
            "user_counts_15m",
            "user_counts_15m_view",
            ("user_id", "bucket", "event"),
            {"events": "sumIf"},
        ),
    ),
)
SESSIONS = BaseTable(
    "sessions",
    "sessions_refusals",
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
            },
        ),
    ),
)
REJECTED_EVENTS = BaseTable("rejected_events", "rejected_events_refusals", names_topic=True)

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
    source = f"FROM {database}.{base.name}"
    if as_select.count(source) != 1:
        raise ValueError(f"{rollup.view} does not read {database}.{base.name} in one place")
    rows = (
        f"FROM (SELECT * {source} WHERE kafka_partition = {{partition:UInt16}}"
        f" AND kafka_offset BETWEEN {{first:UInt64}} AND {{last:UInt64}}) AS {base.name}"
    )
    return f"INSERT INTO {database}.{rollup.name} {as_select.replace(source, rows)}"


def recount_statement(database: str, rollup: Rollup, as_select: str) -> str:
    """Return the SELECT of what differs between a rollup and its base table's rows.

    `as_select` is `system.tables.as_select` of the rollup's view. Each row of the answer is a key,
    then what the rows give and what the rollup has, column by column. The parameters `partition`,
    `since` (both sides must agree in the buckets from this second on), `least` and `limit` are left
    to be bound: with `least` the buckets before `since` are compared instead, where the rollup may
    count rows that are gone, but not fewer.
    """
    columns = ", ".join((*rollup.key, *rollup.states))
    counted = _number(rollup, next(iter(rollup.states)))
    differs = " OR ".join("{} != {}".format(*_number(rollup, state)) for state in rollup.states)
    numbers = ", ".join(
        f"{side} AS {name}_{state}"
        for state in rollup.states
        for name, side in zip(("rows", "rollup"), _number(rollup, state), strict=True)
    )
    key = ", ".join(rollup.key)
    return f"""
SELECT {key}, {numbers}
FROM (
    SELECT {columns}, true AS of_rows FROM ({as_select})
    WHERE kafka_partition = {{partition:UInt16}}
    UNION ALL
    SELECT {columns}, false AS of_rows FROM {database}.{rollup.name}
    WHERE kafka_partition = {{partition:UInt16}}
)
WHERE (bucket >= toDateTime({{since:UInt32}}, 'UTC')) != {{least:Bool}}
GROUP BY {key}
HAVING if({{least:Bool}}, {counted[0]} > {counted[1]}, {differs})
ORDER BY {key}
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - names of ours


def _number(rollup: Rollup, state: str) -> tuple[str, str]:
    """Return the expressions of a number by the rows, and by the rollup."""
    function = rollup.states[state]
    return f"{function}({state}, of_rows)", f"{function}({state}, NOT of_rows)"
