"""The store: what it asks of a real ClickHouse, how it waits, and what it says when it cannot."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import available_timezones

import anyio
import pytest

from query.question import Grouping, Question
from query.statements.metrics import EventCount, count_events
from query.store import Store, StoreUnavailableError, UnknownTimezoneError, open_store
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings
from tests.query.rows import DAY_MS, RECEIVED_AT, USERS, Event, insert, make_events

pytestmark = pytest.mark.anyio


async def test_a_user_with_any_characters_is_found(client: AsyncClient, store: Store) -> None:
    at = int(datetime(2025, 1, 15, tzinfo=UTC).timestamp()) * 1000
    users = [*USERS, *(chr(code) + "x" for code in range(0x80))]
    users = list(dict.fromkeys(users))
    events = [Event(user, "play", at, 0, offset) for offset, user in enumerate(users)]
    await insert(client, "events", events)
    for user in users:
        question = Question(date(2025, 1, 15), date(2025, 1, 15), user_id=user)
        assert await store.ask(count_events(question)) == [EventCount("2025-01-15", "play", 1)], (
            user
        )


async def test_days_that_expire_leave_the_days_of_the_projection(client: AsyncClient) -> None:
    """Rows that a TTL deletes are gone from the projection too."""
    events = [
        Event("u", "play", RECEIVED_AT, 0, 0, received_at=1_000_000_000),
        Event("u", "play", RECEIVED_AT - DAY_MS, 0, 1, received_at=RECEIVED_AT),
    ]
    await insert(client, "events", events)
    await client.command(
        "ALTER TABLE event_counts_15m MODIFY TTL last_received_at + toIntervalDay(10000)",
        settings={"mutations_sync": 2},
    )
    await client.command("OPTIMIZE TABLE event_counts_15m FINAL")
    by_day = "SELECT toDate(bucket) AS day, event, sum(events) FROM event_counts_15m GROUP BY ALL"
    with_it = (await client.query(by_day)).result_rows
    without = await client.query(by_day, settings={"optimize_use_projections": 0})
    assert with_it == without.result_rows
    assert len(with_it) == 1


async def test_the_days_of_all_users_come_from_the_projection(
    client: AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = AsyncClient.raw_query

    async def note(self: AsyncClient, query: str, **arguments: object) -> bytes:
        asked.append(query)
        return bytes(await real(self, query, **arguments))

    monkeypatch.setattr(AsyncClient, "raw_query", note)
    await insert(client, "events", make_events(random.Random(1)))
    await store.ask(count_events(Question(date(2025, 1, 1), date(2025, 12, 31), Grouping.MONTH)))
    parameters = {"first": date(2025, 1, 1), "last": date(2025, 12, 31)}
    plan = await client.query(f"EXPLAIN {asked[-1]}", parameters=parameters)
    assert any("(days)" in row[0] for row in plan.result_rows)


async def test_questions_are_asked_one_at_a_time_and_those_of_a_user_wait_for_no_long_one(
    client: AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: Counter[bool] = Counter()
    seen: set[tuple[int, int]] = set()
    all_may_end = anyio.Event()
    real = AsyncClient.raw_query

    async def note(self: AsyncClient, query: str, **arguments: Any) -> bytes:
        of_user = arguments["parameters"].get("user_id") is not None
        under_way[of_user] += 1
        seen.add((under_way[False], under_way[True]))
        if not of_user:
            await all_may_end.wait()
        answer = bytes(await real(self, query, **arguments))
        under_way[of_user] -= 1
        return answer

    monkeypatch.setattr(AsyncClient, "raw_query", note)
    days = Question(date(2025, 1, 1), date(2025, 1, 2))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(store.ask, count_events(days))
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as of_user:
                for _ in range(5):
                    of_user.start_soon(store.ask, count_events(replace(days, user_id="ann")))
            all_may_end.set()
    assert seen == {(1, 0), (1, 1)}


async def test_a_zone_that_clickhouse_does_not_know(store: Store, client: AsyncClient) -> None:
    known = set((await client.query("SELECT time_zone FROM system.time_zones")).result_columns[0])
    unknown = sorted(available_timezones() - known - {"localtime"})
    for timezone in unknown:
        question = Question(date(2025, 1, 1), date(2025, 1, 2), timezone=timezone)
        with pytest.raises(UnknownTimezoneError):
            await store.ask(count_events(question))
    assert len(unknown) < 10


async def test_a_clickhouse_that_is_away_and_comes_back(
    settings: Settings, client: AsyncClient
) -> None:
    question = Question(date(2025, 1, 1), date(2025, 1, 2))
    async with open_store(replace(settings, clickhouse="http://u:p@127.0.0.1:1")) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await store.ask(count_events(question))
        assert not await store.is_ready()
        store._settings = settings
        assert await store.ask(count_events(question)) == []
        assert await store.is_ready()
