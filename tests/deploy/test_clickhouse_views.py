"""The views for people, against what plain Python counts from the same rows."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import anyio
import pytest

from cli.migrations import apply_migrations, read_migrations
from runtime.clickhouse import AsyncClient
from tests.query.conftest import client
from tests.query.rows import DAY_MS, HOUR_MS, Event, Session, insert

__all__ = ["client"]
pytestmark = pytest.mark.anyio

BEGIN_MS = int(datetime(2024, 12, 20, tzinfo=UTC).timestamp()) * 1000
DAYS = 60
USERS = ["ann", "\0", "😀", "q'\"`", "日本", "x" * 256, *(f"u{n}" for n in range(40))]
# The first quarter of an hour that there is, and the last.
EDGES_MS = [0, 3 * DAY_MS, (2**32 - 1) * 1000]


def make_events(seed: int) -> list[Event]:
    """Users who come on some days and stay away on others, in no order of time."""
    rng = random.Random(seed)
    events = []
    for user in USERS:
        first, share = rng.randrange(DAYS), rng.random()
        for day in range(first, DAYS):
            if day == first or rng.random() < share:
                at = BEGIN_MS + day * DAY_MS + rng.randrange(DAY_MS)
                events.append((user, rng.choice(["play", "stop", "é"]), at))
    rng.shuffle(events)
    return [Event(*each, offset % 4, offset) for offset, each in enumerate(events)]


def day_of(at: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).date()


def week_of(at: int) -> date:
    day = day_of(at)
    return day - timedelta(days=day.isoweekday() % 7)


def month_of(at: int) -> date:
    return day_of(at).replace(day=1)


async def rows_of(client: AsyncClient, statement: str) -> list[tuple[Any, ...]]:
    return list((await client.query(statement)).result_rows)


async def load(client: AsyncClient, events: list[Event]) -> None:
    """In many blocks, of which some are merged and some are not."""
    for begin in range(0, len(events), 97):
        await insert(client, "events", events[begin : begin + 97])
        if begin == 97 * 5:
            for table in ("event_counts_15m", "user_counts_15m"):
                await client.command(f"OPTIMIZE TABLE {table} FINAL")


def users_by(events: Iterable[Event], period: Callable[[int], date]) -> dict[date, set[str]]:
    users: dict[date, set[str]] = defaultdict(set)
    for event in events:
        users[period(event.timestamp)].add(event.user_id)
    return users


@pytest.mark.parametrize("seed", range(3))
async def test_active_users_are_those_that_plain_python_counts(
    client: AsyncClient, seed: int
) -> None:
    events = make_events(seed)
    await load(client, events)
    for view, period in (
        ("daily_active_users", day_of),
        ("weekly_active_users", week_of),
        ("monthly_active_users", month_of),
    ):
        users = users_by(events, period)
        counts = {first: sum(period(e.timestamp) == first for e in events) for first in users}
        expected = [(first, len(users[first]), counts[first]) for first in sorted(users)]
        assert await rows_of(client, f"SELECT * FROM {view} ORDER BY 1") == expected, view


async def test_rolling_periods_end_with_their_day(client: AsyncClient) -> None:
    events = make_events(7)
    # A month without anybody: periods go by the calendar, not by the days that have rows.
    events = [e for e in events if not 20 <= (e.timestamp - BEGIN_MS) // DAY_MS < 50]
    await load(client, events)
    users = users_by(events, day_of)

    def within(day: date, days: int) -> int:
        spans = (users.get(day - timedelta(days=back), set()) for back in range(days))
        return len(set().union(*spans))

    expected = [(day, within(day, 1), within(day, 7), within(day, 30)) for day in sorted(users)]
    statement = "SELECT day, daily, weekly, monthly FROM active_users ORDER BY day"
    assert await rows_of(client, statement) == expected


@pytest.mark.parametrize("seed", range(3))
async def test_retention_is_what_plain_python_counts(client: AsyncClient, seed: int) -> None:
    events = make_events(seed)
    await load(client, events)
    weeks: dict[str, set[date]] = defaultdict(set)
    for event in events:
        weeks[event.user_id].add(week_of(event.timestamp))
    cohorts: dict[date, list[set[date]]] = defaultdict(list)
    for each in weeks.values():
        cohorts[min(each)].append(each)
    expected = []
    for cohort, members in sorted(cohorts.items()):
        for later in range(max((max(m) - cohort).days // 7 for m in members) + 1):
            if came := sum(cohort + timedelta(weeks=later) in member for member in members):
                expected.append((cohort, later, came, len(members)))
    found = await rows_of(
        client,
        "SELECT cohort, weeks_later, users, cohort_users FROM weekly_retention ORDER BY 1, 2",
    )
    assert found == expected
    new = {first: len(members) for first, members in cohorts.items()}
    active = users_by(events, week_of)
    assert await rows_of(client, "SELECT * FROM weekly_new_users ORDER BY week") == [
        (week, len(users), new.get(week, 0), len(users) - new.get(week, 0))
        for week, users in sorted(active.items())
    ]


async def test_every_user_stands_there_once(client: AsyncClient) -> None:
    events = make_events(2)
    await load(client, events)
    expected = []
    for user in sorted({e.user_id for e in events}, key=lambda each: each.encode()):
        times = [e.timestamp // 1000 // 900 * 900 for e in events if e.user_id == user]
        expected.append((user, min(times), max(times), len(times)))
    found = await rows_of(
        client,
        "SELECT user_id, toUnixTimestamp(first_seen), toUnixTimestamp(last_seen), events "
        "FROM users ORDER BY user_id",
    )
    assert found == expected


async def test_sessions_of_a_day_and_a_week(client: AsyncClient) -> None:
    rng = random.Random(4)
    sessions = []
    for offset in range(600):
        at, took = BEGIN_MS + rng.randrange(30 * DAY_MS), rng.randrange(3 * HOUR_MS)
        sessions.append(Session(rng.choice(USERS), at, at + took, took, offset % 4, offset))
    for begin in range(0, 600, 60):
        await insert(client, "sessions", sessions[begin : begin + 60])
    await client.command("OPTIMIZE TABLE session_stats_15m FINAL")
    for view, period in (("daily_sessions", day_of), ("weekly_sessions", week_of)):
        of: dict[date, list[Session]] = defaultdict(list)
        for session in sessions:
            of[period(session.started_at)].append(session)
        for row, (first, members) in zip(
            await rows_of(client, f"SELECT * FROM {view} ORDER BY 1"),
            sorted(of.items()),
            strict=True,
        ):
            lengths = [member.duration_ms / 1000 for member in members]
            assert row[:3] == (first, len(members), len({m.user_id for m in members}))
            assert row[3] == pytest.approx(sum(lengths))
            assert row[4] == pytest.approx(sum(lengths) / len(lengths))
            assert min(lengths) <= row[5] <= row[6] <= max(lengths)
            assert abs(row[5] - median(lengths)) < 0.2 * max(lengths)
            assert row[7:] == (min(lengths), max(lengths))


async def test_a_question_about_a_week_of_sessions_reads_no_other(client: AsyncClient) -> None:
    rows = [Session(f"u{n % 500}", n * HOUR_MS, 0, 5, 0, n) for n in range(50_000)]
    await insert(client, "sessions", rows)
    await client.command("OPTIMIZE TABLE sessions FINAL")
    week = "FROM sessions WHERE started_at >= '1972-02-02' AND started_at < '1972-02-09'"
    counted = f"SELECT count(), sum(duration_ms) {week}"
    assert await rows_of(client, counted) == [(7 * 24, 7 * 24 * 5)]
    without = f"{counted} SETTINGS optimize_use_projections = 0"
    assert await rows_of(client, without) == [(7 * 24, 7 * 24 * 5)]
    plan = await rows_of(client, f"EXPLAIN indexes = 1, projections = 1 {counted}")
    assert any("by_start" in line for (line,) in plan)


async def test_no_time_makes_a_view_fail(client: AsyncClient) -> None:
    await insert(client, "events", [Event("u", "play", at, 0, at % 99) for at in EDGES_MS])
    await insert(client, "sessions", [Session("u", at, at, 0, 0, at % 99) for at in EDGES_MS])
    for view in (
        "daily_events", "daily_active_users", "weekly_active_users", "monthly_active_users",
        "active_users", "daily_sessions", "weekly_sessions", "users", "weekly_retention",
        "weekly_new_users",
    ):  # fmt: skip
        assert await rows_of(client, f"SELECT * FROM {view}"), view


async def test_a_user_who_is_deleted_is_gone_from_the_projections(client: AsyncClient) -> None:
    await load(client, make_events(1))
    for table in ("user_counts_15m", "sessions"):
        await client.command(
            f"ALTER TABLE {table} DELETE WHERE user_id = '😀' SETTINGS mutations_sync = 1"
        )
    assert await rows_of(client, "SELECT count() FROM users WHERE user_id = '😀'") == [(0,)]
    assert await rows_of(client, "SELECT count() FROM users") == [(len(USERS) - 1,)]


async def test_rows_of_before_the_views_are_in_them(client: AsyncClient) -> None:
    """What was counted before a projection was added is put into it by the migration."""
    events = make_events(5)
    for table, name in (
        ("event_counts_15m", "users_of_days"),
        ("user_counts_15m", "users"),
        ("session_stats_15m", "days"),
        ("sessions", "by_start"),
    ):
        await client.command(f"ALTER TABLE {table} DROP PROJECTION {name}")
    await load(client, events)
    before = await rows_of(client, "SELECT * FROM weekly_retention ORDER BY 1, 2")
    await client.command("DELETE FROM migrations WHERE number = 8")
    assert await apply_migrations(client, read_migrations()) == ["0008_views_for_people"]
    pending = (
        "SELECT count() FROM system.mutations WHERE NOT is_done AND database = currentDatabase()"
    )
    while await rows_of(client, pending) != [(0,)]:  # noqa: ASYNC110
        await anyio.sleep(0.05)
    assert await rows_of(client, "SELECT * FROM weekly_retention ORDER BY 1, 2") == before
    forced = "SELECT sum(events) FROM daily_active_users SETTINGS force_optimize_projection = 1"
    assert await rows_of(client, forced) == [(len(events),)]
