"""Known numbers: the same as those that are found anew, also when rows come and go in between."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from query.known import Known
from query.question import Counted, Grouping, Question, Stats
from query.statements.metrics import count_events
from query.statements.sessions import sum_sessions
from query.statements.statement import Statement
from query.store import Store
from runtime.clickhouse import AsyncClient
from tests.query.rows import DAY_MS, Event, insert, make_events, make_sessions

pytestmark = pytest.mark.anyio

_YEAR = Question(date(2025, 1, 1), date(2025, 12, 31))
_USERS, _EXTENDED = replace(_YEAR, counted=Counted.USERS), replace(_YEAR, stats=Stats.EXTENDED)
_JANUARY_MS = 1_735_689_600_000
_ZONES = ("UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe")
_DAYS = [date(2025, month, day) for month in range(1, 13) for day in (1, 4, 15, 28)]
_GROUPINGS = (Grouping.HOUR, Grouping.DAY, Grouping.WEEK, Grouping.MONTH)
_DELETED = (
    "event_counts_15m DELETE WHERE toDate(bucket) < '2025-06-01'",
    "session_stats_15m DELETE WHERE toDate(bucket) < '2025-06-01'",
    "sessions DELETE WHERE toDate(started_at) < '2025-06-01'",
)


class Asked:
    """A store that notes which days it was asked for."""

    def __init__(self, store: Store) -> None:
        self.days: list[tuple[Any, Any]] = []
        self._store = store

    async def ask(self, statement: Statement[Any]) -> Sequence[Any]:
        """Ask the real one."""
        self.days.append((statement.parameters["first"], statement.parameters["last"]))
        return await self._store.ask(statement)


async def test_known_numbers_are_those_found_anew(client: AsyncClient, store: Store) -> None:
    """Whatever is asked in whatever order, with more rows or fewer since, and little kept."""
    chance = random.Random(7)
    roomy, narrow = Known(store.ask), Known(store.ask, most=40)
    for step in range(80):
        if step % 8 == 0:
            await insert(client, "events", make_events(chance, 80))
            await insert(client, "sessions", make_sessions(chance, 80))
        if step == 44:
            for each in _DELETED:
                await client.command(f"ALTER TABLE {each}", settings={"mutations_sync": 2})
        start, end = sorted(chance.sample(_DAYS, 2))
        state, question = chance.choice([(count_events, _USERS), (sum_sessions, _EXTENDED)])
        question = replace(
            question,
            start=start,
            end=end,
            grouping=chance.choice(_GROUPINGS),
            timezone=chance.choice(_ZONES),
            events=chance.choice([(), ("play", "stop")]) if state is count_events else (),
        )
        expected = await store.ask(state(question))
        for known in (roomy, narrow):
            assert await known.ask(state, question) == expected, question


async def test_only_days_with_more_events_are_counted_again(
    client: AsyncClient, store: Store
) -> None:
    events = [Event(f"u{n % 7}", "play", _JANUARY_MS + n * DAY_MS, 0, n) for n in range(300)]
    await insert(client, "events", events)
    asked = Asked(store)
    known = Known(asked.ask)
    whole = (_YEAR.start, _YEAR.end)
    first = await known.ask(count_events, _USERS)
    assert asked.days == [whole, (date(2025, 1, 1), date(2025, 10, 27))]
    assert await known.ask(count_events, _USERS) == first
    assert asked.days[2:] == [whole]
    more = [Event("new", "play", _JANUARY_MS + n * DAY_MS, 0, 1000 + n) for n in (40, 42)]
    await insert(client, "events", more)
    second = await known.ask(count_events, _USERS)
    assert asked.days[3:] == [whole, (date(2025, 2, 10), date(2025, 2, 12))]
    assert [each.n for each in second if each.n == 2] == [2, 2]


async def test_a_week_that_is_cut_off_is_another_one(client: AsyncClient, store: Store) -> None:
    """Two parts of a week with as many events have not the same users."""
    events = [
        Event("a", "play", _JANUARY_MS + 5 * DAY_MS, 0, 0),
        Event("a", "play", _JANUARY_MS + 5 * DAY_MS, 0, 1),
        Event("b", "play", _JANUARY_MS + 8 * DAY_MS, 0, 2),
        Event("c", "play", _JANUARY_MS + 8 * DAY_MS, 0, 3),
    ]
    await insert(client, "events", events)
    known = Known(store.ask)
    weekly = replace(_USERS, grouping=Grouping.WEEK)
    begins = replace(weekly, start=date(2025, 1, 5), end=date(2025, 1, 7))
    ends = replace(weekly, start=date(2025, 1, 8), end=date(2025, 1, 11))
    assert [each.n for each in await known.ask(count_events, begins)] == [1]
    assert [each.n for each in await known.ask(count_events, ends)] == [2]
    assert [each.n for each in await known.ask(count_events, begins)] == [1]
