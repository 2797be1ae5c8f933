"""A table's rollups, counted again from its rows.

In: a rollup, a partition, from when on its buckets can be counted again. Out: the keys that differ.
Never: a change; a difference that only the moment makes: what the writer is inserting meanwhile is
looked at again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cli.table_settings import retention
from contracts.tables import SELECT_VIEW, BaseTable, Rollup, recount_statement
from contracts.timestamps import DAY_MS
from processors.writer.commits import now_ms
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings

_SHOWN = 5
# What the writer is inserting is in the base table a moment before it is in the rollups.
_LOOKS, _BETWEEN_LOOKS_S = 6, 0.5
_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Memory:
    """What a table and its rollup remember of a partition, in seconds since 1970.

    Attributes:
        since: the buckets from here on can be counted again from the rows; before, rows may have
            expired.
        proven: Kafka still has every record of the buckets from here on.
        remembered: the rollup still counts what was received from here on.
        forgets_first: the rollup may forget what the table still has.
    """

    since: int
    proven: int
    remembered: int
    forgets_first: bool


def memory_of(
    settings: Settings,
    base: BaseTable,
    rollup: Rollup,
    *,
    whole: bool,
    received_from: int | None = None,
) -> Memory:
    """Return what is remembered of a partition.

    `whole` says that the table has dropped none of its rows; `received_from` is when Kafka received
    the first record that it still has, in ms since 1970.
    """
    kept = retention(settings)
    rows_days, rollup_days = kept[base.name].days, kept[rollup.name].days
    remembered = _seconds_ago(rollup_days)
    return Memory(
        since=max(remembered, 0 if whole else _seconds_ago(rows_days)),
        proven=0 if whole else (received_from or now_ms()) // 1000 + _HOUR_S,
        remembered=remembered,
        forgets_first=rollup_days > 0 and (rows_days == 0 or rollup_days < rows_days),
    )


async def view_of(client: AsyncClient, rollup: Rollup) -> str:
    """Return the SELECT of a rollup's view."""
    rows = await client.query(SELECT_VIEW, parameters={"view": rollup.view})
    return str(rows.first_row[0])


async def recount_of(
    client: AsyncClient, settings: Settings, base: BaseTable, rollup: Rollup
) -> str:
    """Return the statement that counts a rollup again."""
    return recount_statement(settings.namespace, base, rollup, await view_of(client, rollup))


async def compare_rollup(
    client: AsyncClient, recount: str, rollup: Rollup, partition: int, memory: Memory
) -> list[str]:
    """Return a sentence for each of the first few keys in which rollup and rows differ.

    What began within the time that the table remembers must agree wholly; what began before may
    count rows that are gone, but never fewer than there are. `recount` is the statement that
    `recount_of` gives.
    """
    found = []
    for least in (False, True):
        # What a rollup forgets before the table does cannot be held against it.
        if not (least and memory.forgets_first):
            parameters = {
                "partition": partition,
                "since": memory.since,
                "least": least,
                "limit": _SHOWN,
            }
            found += await _lasting(client, recount, parameters)
    return [f"partition {partition}: {_sentence(rollup, row)}" for row in found]


async def _lasting(
    client: AsyncClient, statement: str, parameters: dict[str, int]
) -> list[tuple[object, ...]]:
    """Return what differs, and goes on doing so."""
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_BETWEEN_LOOKS_S)
        found = [tuple(row) for row in (await client.query(statement, parameters)).result_rows]
        if not found:
            return []
    return found


def _sentence(rollup: Rollup, row: tuple[object, ...]) -> str:
    keys = len(rollup.key)
    key = ", ".join(f"{name} {value}" for name, value in zip(rollup.key, row, strict=False))
    pairs = zip(rollup.states, row[keys::2], row[keys + 1 :: 2], strict=True)
    wrong = (f"{state} is {has}, the rows give {give}" for state, give, has in pairs if has != give)
    return f"{rollup.name}, {key}: {'; '.join(wrong)}"


def _seconds_ago(days: int) -> int:
    """Return the second from which on nothing has expired, with an hour to spare; 0 = ever."""
    # An event is never later than its receipt, from which its row is kept.
    return max(0, (now_ms() - days * DAY_MS) // 1000 + _HOUR_S) if days else 0
