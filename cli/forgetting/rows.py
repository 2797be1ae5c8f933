"""Rows of users who are forgotten: found by the marks alone, counted, taken out.

In: marks, a client of ClickHouse. Out: tables without the rows; of each, what is left in the table
beside it (`contracts.tables.BaseTable.left`). Never: a user's id in a statement, which ClickHouse
would keep in the list of its mutations.

What is left is written first. A run that is cut off has left both, and the next writes no second.
"""

from __future__ import annotations

from collections.abc import Callable

from cli.mutations import INSERT, delete_rows
from contracts.forgetting import Mark, Marks
from contracts.tables import EVENTS, SESSIONS, BaseTable
from runtime.clickhouse import AsyncClient
from runtime.failpoints import failpoint

FAILPOINTS = ("forget.after_left", "forget.after_rows")
"""Where a test kills the command between what is left of rows and their end."""

NAMED = (EVENTS, SESSIONS)
"""The tables whose rows are each of one user."""
USER_COUNTS = "user_counts_15m"


def key_of(log_id: str) -> str:
    """Return the expression that gives the key of a row's user, as `contracts.forgetting` does."""
    return f"lower(hex(SHA256(concat('{log_id}', user_id))))"


def rows_of(marks: Marks) -> str:
    """Return the condition on rows of `events` and `sessions` that the marks cover."""
    return _condition(marks, "log_offset", lambda mark: mark.offsets[mark.partition])


def counts_of(marks: Marks) -> str:
    """Return the condition on rows of `user_counts_15m` that count nothing behind the marks."""
    return _condition(marks, "last_offset", lambda mark: mark.accepted)


async def forget_rows(client: AsyncClient, base: BaseTable, condition: str) -> int:
    """Take rows out of a base table, and keep what is left of them; return how many there were."""
    columns = ", ".join(base.left)
    await client.command(
        f"INSERT INTO {base.forgotten} ({columns}) SELECT {', '.join(base.left.values())} "  # noqa: S608
        f"FROM {base.name} WHERE {condition} AND {_place(base)} NOT IN "
        f"(SELECT {_place(base)} FROM {base.forgotten})",
        settings=INSERT,
    )
    failpoint("forget.after_left")
    gone = await delete_rows(client, base.name, condition)
    failpoint("forget.after_rows")
    return gone


def _condition(marks: Marks, column: str, bound: Callable[[Mark], int]) -> str:
    """Return the condition that a column lies before the user's own bound.

    Whoever has no mark has the bound 0.
    """
    partitions = sorted({mark.partition for mark in marks.by_key.values()})
    keys = ", ".join(f"'{key}'" for key in marks.by_key)
    bounds = ", ".join(f"toUInt64({bound(mark)})" for mark in marks.by_key.values())
    return (
        f"kafka_partition IN ({', '.join(map(str, partitions))}) "
        f"AND {column} < transform({key_of(marks.log_id)}, [{keys}], [{bounds}], toUInt64(0))"
    )


def _place(base: BaseTable) -> str:
    return f"({'kafka_topic, ' if base.names_topic else ''}kafka_partition, kafka_offset)"
