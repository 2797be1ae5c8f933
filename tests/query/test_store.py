"""Questions to a real ClickHouse, against what plain Python counts from the same rows."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import anyio
import msgspec
import pytest

from cli.migrations import apply_migrations, create_database, read_migrations
from query.parameters import Grouping, Question
from query.store import (
    EventCount,
    SessionSum,
    Store,
    StoreUnavailableError,
    UnknownTimezoneError,
    open_store,
)
from runtime.clickhouse import AsyncClient, connect
from runtime.settings import Settings

pytestmark = pytest.mark.anyio

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
USERS = [
    "ann", "\0", "a\0b", "😀", "q'\"`", "\\", "\\N", "\\0", "100%25", "t\ta\nb\r", "{x:String}",
    "日本", "\x7f\x01", "a b+c&d=e;--", "' OR 1=1 --", "x" * 256, "😀" * 256,
]  # fmt: skip
NAMES = ["play", "stop", "z", "Z", "é", "日本", "\0", 'a"b\\c', "😀", "\uffff"]
# The edges of periods, and the first quarter of an hour that there is.
EDGES = [
    0,
    1,
    int(datetime(1970, 1, 4, tzinfo=UTC).timestamp()) * 1000 - 1,
    int(datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000 + 999,
    int(datetime(2024, 12, 29, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2025, 3, 30, 1, tzinfo=UTC).timestamp()) * 1000,
]
RECEIVED_AT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1000


class Event(msgspec.Struct):
    user_id: str
    event: str
    timestamp: int
    kafka_partition: int
    kafka_offset: int
    received_at: int = RECEIVED_AT
    event_id: str = "id"
    metadata: dict[str, str] = {}
    source: str = ""
    log_offset: int = 0


class Session(msgspec.Struct):
    user_id: str
    started_at: int
    ended_at: int
    duration_ms: int
    kafka_partition: int
    kafka_offset: int
    received_at: int = RECEIVED_AT
    session_id: str = "id"
    attributes: dict[str, str] = {}
    play_id: str = "p"
    stop_id: str = "s"
    log_offset: int = 0


def make_events(rng: random.Random) -> list[Event]:
    times = EDGES + [rng.randrange(1_704_067_200_000, 1_767_225_600_000) for _ in range(1500)]
    return [
        Event(rng.choice(USERS), rng.choice(NAMES), at, offset % 4, offset)
        for offset, at in enumerate(times)
    ]


def make_sessions(rng: random.Random) -> list[Session]:
    sessions = []
    for event in make_events(rng):
        took = rng.choice([0, 499, 500, rng.randrange(5 * HOUR_MS)])
        at = event.timestamp
        sessions.append(
            Session(event.user_id, at, at + took, took, event.kafka_partition, event.kafka_offset)
        )
    return sessions


async def insert(client: AsyncClient, table: str, rows: Iterable[msgspec.Struct]) -> None:
    lines = b"\n".join(map(msgspec.json.encode, rows))
    await client.command(f"INSERT INTO {table} FORMAT JSONEachRow", data=lines)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """A database with the tables, dropped afterwards."""
    outside = await connect(settings, database="default")
    await create_database(outside, settings.namespace)
    inside = await connect(settings)
    try:
        await apply_migrations(inside, read_migrations())
        yield inside
    finally:
        await inside.close()
        await outside.command(f"DROP DATABASE {settings.namespace} SYNC")
        await outside.close()


@pytest.fixture
async def store(settings: Settings, client: AsyncClient) -> AsyncIterator[Store]:
    async with open_store(settings) as opened:
        yield opened


def period_of(at: int, question: Question) -> date | None:
    """The first day of the period that a moment belongs to, or None outside of the range."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    day = moment.astimezone(ZoneInfo(question.timezone)).date()
    if not question.start <= day <= question.end:
        return None
    if question.grouping is Grouping.WEEK:
        return day - timedelta(days=day.isoweekday() % 7)
    return day.replace(day=1) if question.grouping is Grouping.MONTH else day


def count_plainly(events: Iterable[Event], question: Question) -> list[EventCount]:
    counts: Counter[tuple[date, str]] = Counter()
    for event in events:
        period = period_of(event.timestamp, question)
        if period is not None and question.user_id in (None, event.user_id):
            counts[period, event.event] += 1
    return [EventCount(period, name, n) for (period, name), n in sorted(counts.items())]


def sum_plainly(sessions: Iterable[Session], question: Question) -> list[SessionSum]:
    sums: dict[date, list[int]] = defaultdict(lambda: [0, 0])
    for session in sessions:
        period = period_of(session.started_at, question)
        if period is not None and question.user_id in (None, session.user_id):
            sums[period][0] += 1
            sums[period][1] += session.duration_ms
    return [SessionSum(period, n, total) for period, (n, total) in sorted(sums.items())]


def questions(rng: random.Random) -> Iterable[Question]:
    zones = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]
    whole = Question(date(1, 1, 1), date(9999, 12, 31))
    for grouping in Grouping:
        for timezone in zones:
            yield replace(whole, grouping=grouping, timezone=timezone)
            yield replace(whole, grouping=grouping, timezone=timezone, user_id=rng.choice(USERS))
            start = date(2024, 1, 1) + timedelta(days=rng.randrange(600))
            yield Question(
                start, start + timedelta(days=rng.randrange(60)), grouping, None, timezone
            )
    for day in (date(1970, 1, 1), date(1969, 12, 31)):
        for timezone in zones:
            yield Question(day, day, Grouping.WEEK, None, timezone)
    yield Question(date(1, 1, 1), date(1969, 12, 31))
    yield Question(date(2200, 1, 1), date(9999, 12, 31))


async def test_counts_are_those_of_plain_python(client: AsyncClient, store: Store) -> None:
    rng = random.Random(7)
    events = make_events(rng)
    await insert(client, "events", events[::2])
    await insert(client, "events", events[1::2])
    for merged in (False, True):
        for question in questions(rng):
            assert await store.count_events(question) == count_plainly(events, question), question
        if not merged:
            await client.command("OPTIMIZE TABLE event_counts_15m FINAL")
            await client.command("OPTIMIZE TABLE user_counts_15m FINAL")


async def test_session_sums_are_those_of_plain_python(client: AsyncClient, store: Store) -> None:
    rng = random.Random(8)
    sessions = make_sessions(rng)
    await insert(client, "sessions", sessions[::2])
    await insert(client, "sessions", sessions[1::2])
    for question in questions(rng):
        assert await store.sum_sessions(question) == sum_plainly(sessions, question), question


async def test_a_user_with_any_characters_is_found(client: AsyncClient, store: Store) -> None:
    at = int(datetime(2025, 1, 15, tzinfo=UTC).timestamp()) * 1000
    users = [*USERS, *(chr(code) + "x" for code in range(0x80))]
    users = list(dict.fromkeys(users))
    events = [Event(user, "play", at, 0, offset) for offset, user in enumerate(users)]
    await insert(client, "events", events)
    for user in users:
        question = Question(date(2025, 1, 15), date(2025, 1, 15), user_id=user)
        assert await store.count_events(question) == [EventCount(date(2025, 1, 15), "play", 1)], (
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
    await store.count_events(Question(date(2025, 1, 1), date(2025, 12, 31), Grouping.MONTH))
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
                group.start_soon(store.count_events, days)
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as of_user:
                for _ in range(5):
                    of_user.start_soon(store.count_events, replace(days, user_id="ann"))
            all_may_end.set()
    assert seen == {(1, 0), (1, 1)}


async def test_a_zone_that_clickhouse_does_not_know(store: Store, client: AsyncClient) -> None:
    known = set((await client.query("SELECT time_zone FROM system.time_zones")).result_columns[0])
    unknown = sorted(available_timezones() - known - {"localtime"})
    for timezone in unknown:
        with pytest.raises(UnknownTimezoneError):
            await store.count_events(
                Question(date(2025, 1, 1), date(2025, 1, 2), timezone=timezone)
            )
    assert len(unknown) < 10


async def test_a_clickhouse_that_is_away_and_comes_back(
    settings: Settings, client: AsyncClient
) -> None:
    question = Question(date(2025, 1, 1), date(2025, 1, 2))
    async with open_store(replace(settings, clickhouse="http://u:p@127.0.0.1:1")) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await store.count_events(question)
        assert not await store.is_ready()
        store._settings = settings
        assert await store.count_events(question) == []
        assert await store.is_ready()
