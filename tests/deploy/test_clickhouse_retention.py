"""Retention at work, with seconds instead of days: events go, counts and sessions stay."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from datetime import date

import anyio
import pytest

from cli.table_settings import apply_table_settings, retention
from contracts.tables import EVENTS, SESSIONS
from query.question import Grouping, Question
from query.statements.metrics import EventCount, count_events
from query.statements.sessions import SessionSum, sum_sessions
from query.store import Store
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings
from tests.query.conftest import client, store
from tests.query.rows import Event, insert, make_events, make_sessions

__all__ = ["client", "store"]
pytestmark = pytest.mark.anyio

KEPT_S = 2
GONE_WITHIN_S = 60.0
DAY_MS = 86_400_000
USER = "ann"
ALL_TIME = Question(date(1970, 1, 1), date(2030, 12, 31), Grouping.MONTH)


@dataclass(frozen=True)
class Answers:
    """What /metrics and /sessions say, to all and about one user, in two time zones."""

    counts: list[EventCount]
    local_counts: list[EventCount]
    user_counts: list[EventCount]
    sessions: list[SessionSum]
    user_sessions: list[SessionSum]


async def ask(store: Store) -> Answers:
    of_user = replace(ALL_TIME, user_id=USER)
    return Answers(
        counts=await store.ask(count_events(ALL_TIME)),
        local_counts=await store.ask(count_events(replace(ALL_TIME, timezone="Asia/Kathmandu"))),
        user_counts=await store.ask(count_events(of_user)),
        sessions=await store.ask(sum_sessions(ALL_TIME)),
        user_sessions=await store.ask(sum_sessions(of_user)),
    )


async def fill(client: AsyncClient, now_ms: int) -> None:
    """Insert years of events and sessions received now, and ten events received tomorrow."""
    chosen = random.Random(1)
    events, sessions = make_events(chosen), make_sessions(chosen)
    for event in events:
        event.received_at = now_ms
    for session in sessions:
        session.received_at = now_ms
    tomorrow = [
        Event("new", "play", now_ms, 0, 10_000 + n, received_at=now_ms + DAY_MS) for n in range(10)
    ]
    await insert(client, "events", events)
    await insert(client, "events", tomorrow)
    await insert(client, "sessions", sessions)


async def keep_for_seconds(client: AsyncClient, table: str, received: str) -> None:
    """Say for how long a table keeps rows, as `migrate` does, but in seconds."""
    await client.command(f"ALTER TABLE {table} MODIFY SETTING merge_with_ttl_timeout = 1")
    ttl = f"{received} + toIntervalSecond({KEPT_S})"
    await client.command(f"ALTER TABLE {table} MODIFY TTL {ttl}")


async def count(client: AsyncClient, table: str) -> int:
    return int((await client.query(f"SELECT count() FROM {table}")).result_rows[0][0])


async def wait_for_rows(client: AsyncClient, table: str, rows: int) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while (found := await count(client, table)) != rows:
        assert time.monotonic() < deadline, f"{table} has {found} rows, and should have {rows}"
        await anyio.sleep(0.2)


async def merge_all(client: AsyncClient) -> None:
    """Merge every rollup to one part, as time would."""
    for base in (EVENTS, SESSIONS):
        for rollup in base.rollups:
            await client.command(f"OPTIMIZE TABLE {rollup.name} FINAL")


async def test_events_go_and_counts_and_sessions_stay(
    settings: Settings, client: AsyncClient, store: Store
) -> None:
    await apply_table_settings(client, settings)
    await keep_for_seconds(client, "events", retention(settings)["events"].received)
    await fill(client, time.time_ns() // 1_000_000)
    before, sessions = await ask(store), await count(client, "sessions")
    assert all(map(bool, (before.counts, before.user_counts, before.user_sessions)))

    await wait_for_rows(client, "events", 10)
    await merge_all(client)
    assert await ask(store) == before
    assert await count(client, "sessions") == sessions

    # Counts per user have a retention of their own, and go alone.
    await keep_for_seconds(
        client, "user_counts_15m", retention(settings)["user_counts_15m"].received
    )
    await wait_for_rows(client, "user_counts_15m", 1)
    after = await ask(store)
    assert after.user_counts == []
    assert after.counts == before.counts
    assert after.local_counts == before.local_counts
    assert after.user_sessions == before.user_sessions
