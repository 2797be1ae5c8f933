"""The tables: comments, views in which no row fails, rollups that can be filled."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import msgspec
import pytest

from contracts.tables import BASE_TABLES, EVENTS, SESSIONS, BaseTable, Rollup, fill_statement
from runtime.clickhouse import AsyncClient, ClickHouseError
from tests.query.conftest import client
from tests.query.rows import Event, Session, insert, make_events, make_sessions

__all__ = ["client"]
pytestmark = pytest.mark.anyio

SQL_VIEWS = "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = ''"
# A materialized view's columns are those of its target, which are described there.
SQL_COLUMNS = """
SELECT table, name FROM system.columns
WHERE database = currentDatabase() AND comment = '' AND table NOT IN (
    SELECT name FROM system.tables
    WHERE database = currentDatabase() AND engine = 'MaterializedView'
)
"""
NAMES = ["", "\0", "😀", "'\"\\`", "x" * 70_000]
# 1970, the ends of 32-bit seconds, and both ends of what the column can hold.
TIMES = [0, 1, 2**31 * 1000, 2**32 * 1000 - 1, 2**32 * 1000, 10_413_791_999_999, 10**18]


async def rows_of(client: AsyncClient, statement: str) -> list[Any]:
    return list((await client.query(statement)).result_rows)


async def test_everything_has_a_comment(client: AsyncClient) -> None:
    assert await rows_of(client, SQL_VIEWS) == []
    assert await rows_of(client, SQL_COLUMNS) == []
    assert len(await rows_of(client, "SELECT name FROM system.columns WHERE table = 'events'")) > 9


async def test_no_row_fails_in_a_view(client: AsyncClient) -> None:
    rows = [
        Event(name, name, at, 65_535, 2**64 - 1 - offset, received_at=received)
        for offset, (name, at, received) in enumerate(product(NAMES, TIMES, TIMES))
    ]
    await insert(client, "events", rows)
    # One block of rows from every year is nothing but one insert for the views' targets.
    sums = await rows_of(
        client,
        "SELECT (SELECT sum(events) FROM event_counts), (SELECT sum(events) FROM user_counts)",
    )
    assert sums == [(len(rows), len(rows))]
    sessions = [
        Session(name, at, at, took, 65_535, offset)
        for offset, (name, at, took) in enumerate(product(NAMES, TIMES, [0, 1, 2**63, 2**64 - 1]))
    ]
    await insert(client, "sessions", sessions)
    assert await rows_of(client, "SELECT sum(sessions) FROM session_stats") == [(len(sessions),)]


async def test_views_for_analysts_have_summed(client: AsyncClient) -> None:
    events = [Event(f"u{n % 7}", "play", n * 1000, n % 4, n) for n in range(800)]
    await insert(client, "events", events)
    await insert(client, "events", events)
    counts = await rows_of(
        client,
        "SELECT toUnixTimestamp(bucket), event, events, users FROM event_counts ORDER BY bucket",
    )
    assert counts == [(0, "play", 1600, 7)]
    merged = "SELECT uniqCombined64Merge(14)(users_state) FROM event_counts"
    assert await rows_of(client, merged) == [(7,)]

    took = [1000, 2000, 3000, 4000, 90_000]
    sessions = [Session(f"u{n}", 0, ms, ms, n % 4, n) for n, ms in enumerate(took)]
    await insert(client, "sessions", sessions)
    stats = await rows_of(
        client,
        "SELECT sessions, duration_ms, average_ms, median_ms, shortest_ms, longest_ms, users "
        "FROM session_stats",
    )
    assert stats == [(5, 100_000, 20_000.0, 3000.0, 1000, 90_000, 5)]


@pytest.mark.parametrize(
    ("base", "rollup"), [(base, rollup) for base in BASE_TABLES for rollup in base.rollups]
)
async def test_a_rollup_is_filled_with_the_views_own_select(
    client: AsyncClient, base: BaseTable, rollup: Rollup
) -> None:
    rng = random.Random(3)
    rows = make_events(rng) if base is EVENTS else make_sessions(rng)
    await insert(client, base.name, rows)
    columns = [
        name
        for (name,) in await rows_of(
            client,
            f"SELECT name FROM system.columns WHERE database = currentDatabase() "
            f"AND table = '{rollup.name}' AND type NOT LIKE 'AggregateFunction%'",
        )
    ]
    everything = f"SELECT {', '.join(columns)} FROM {rollup.name} ORDER BY ALL"
    await client.command(f"OPTIMIZE TABLE {rollup.name} FINAL")
    expected = await rows_of(client, everything)

    await client.command(f"TRUNCATE TABLE {rollup.name}")
    [(as_select,)] = await rows_of(
        client,
        "SELECT as_select FROM system.tables "
        f"WHERE database = currentDatabase() AND name = '{rollup.view}'",
    )
    statement = fill_statement(str(client.database), base, rollup, as_select)
    for partition in range(4):
        for first, last in ((0, 699), (700, len(rows))):
            bound = {"partition": partition, "first": first, "last": last}
            await client.command(statement, parameters=bound)
    await client.command(f"OPTIMIZE TABLE {rollup.name} FINAL")
    assert await rows_of(client, everything) == expected


def test_a_select_that_reads_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not read track\.events in one place"):
        fill_statement("track", EVENTS, EVENTS.rollups[0], "SELECT 1 FROM track.other")


@pytest.mark.parametrize("base", BASE_TABLES)
async def test_a_twin_refuses_what_its_table_refuses(client: AsyncClient, base: BaseTable) -> None:
    columns = (
        "SELECT name, type, default_kind FROM system.columns "
        "WHERE database = currentDatabase() AND table = '{}' ORDER BY position"
    )
    assert await rows_of(client, columns.format(base.twin)) == await rows_of(
        client, columns.format(base.name)
    )


async def test_a_twin_keeps_nothing_and_refuses(client: AsyncClient) -> None:
    good = msgspec.json.encode(Session("u", 0, 0, 0, 0, 0))
    bad = good.replace(b'"attributes":{}', b'"attributes":{"a":1e400}')
    statement = f"INSERT INTO {SESSIONS.twin} FORMAT JSONEachRow"
    await client.command(statement, data=good)
    assert await rows_of(client, "SELECT count() FROM session_stats") == [(0,)]
    with pytest.raises(ClickHouseError):
        await client.command(statement, data=bad)


async def test_the_highest_offset_stands_in_every_table(client: AsyncClient) -> None:
    await insert(client, "events", [Event("u", "play", 0, n % 4, 100 + n) for n in range(8)])
    for rollup in EVENTS.rollups:
        highest = await rows_of(
            client,
            f"SELECT kafka_partition, max(last_offset) FROM {rollup.name} "
            "GROUP BY kafka_partition ORDER BY kafka_partition",
        )
        assert highest == [(0, 104), (1, 105), (2, 106), (3, 107)]
