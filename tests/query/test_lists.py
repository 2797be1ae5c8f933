"""Lists: pages while rows arrive, plays that are open, streams of any length."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.datastructures import QueryParams

from query.app import create_app
from query.question import Question
from query.table import BY_PATH
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings
from tests.query.conftest import without_kafka
from tests.query.plain import Rows, list_open_plays
from tests.query.rows import (
    HOUR_MS,
    Event,
    Session,
    insert,
    make_events,
    make_sessions,
    make_values,
)
from tests.query.test_app import http_of

pytestmark = pytest.mark.anyio
WHOLE = "start_date=1970-01-01&end_date=2100-01-01"
_INSERT_LOG = "INSERT INTO log (id, opens, closes, partitions) VALUES ('x', 'play', 'stop', 4)"


@pytest.fixture
async def http(settings: Settings, client: AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    await client.command(_INSERT_LOG)
    app = create_app(without_kafka(settings))
    async with app.router.lifespan_context(app), http_of(app) as opened:
        yield opened


async def test_pages_lose_and_double_nothing_while_rows_arrive(
    http: httpx.AsyncClient, client: AsyncClient
) -> None:
    """What was there at the beginning is on one page, what comes meanwhile on one or none."""
    rng = random.Random(3)
    sessions = make_sessions(rng, 400)
    for each in sessions[:200]:  # many of the same moment
        each.started_at = sessions[0].started_at
    first, later = sessions[::2], sessions[1::2]
    await insert(client, "sessions", first)
    seen: list[str] = []
    link = f"/sessions/list?{WHOLE}&limit=7"
    while link:
        answer = await http.get(link)
        page = answer.json()
        assert 1 <= len(page["data"]) <= 7
        seen += [each["session_id"] for each in page["data"]]
        assert ("next" in page) == ("link" in answer.headers)
        link = answer.links.get("next", {}).get("url", "")
        if later:
            await insert(client, "sessions", [later.pop() for _ in range(min(9, len(later)))])
    assert len(seen) == len(set(seen))
    assert {each.session_id for each in first} <= set(seen)


async def test_a_page_that_is_full_and_the_last(
    http: httpx.AsyncClient, client: AsyncClient
) -> None:
    await insert(client, "events", [Event("u", "play", 1000 * n, 0, n) for n in range(4)])
    page = (await http.get("/events?user_id=u&limit=4")).json()
    assert (len(page["data"]), "next" in page) == (4, False)
    page = (await http.get("/events?user_id=u&limit=3")).json()
    assert page["next"] == "1000.0.1"
    rest = (await http.get(f"/events?user_id=u&limit=3&cursor={page['next']}")).json()
    assert [each["timestamp"] for each in rest["data"]] == ["1970-01-01T00:00:00.000Z"]
    csv_page = await http.get("/events?user_id=u&limit=3&format=csv")
    assert csv_page.links["next"]["url"] == "/events?user_id=u&limit=3&format=csv&cursor=1000.0.1"


async def test_metadata_come_back(http: httpx.AsyncClient, client: AsyncClient) -> None:
    rng = random.Random(9)
    events = [
        Event("u", "play", n, 0, n, metadata=make_values(rng) | {"way": {"down": n}})
        for n in range(50)
    ]
    for each in events:
        each.metadata = {key: value for key, value in each.metadata.items() if value is not None}
    await insert(client, "events", events)
    found = (await http.get("/events?user_id=u")).json()["data"]
    assert [each["metadata"] for each in reversed(found)] == [each.metadata for each in events]
    lines = (await http.get("/events?user_id=u&format=ndjson")).text.splitlines()
    assert [json.loads(line) for line in lines] == found
    table = [*csv.DictReader(io.StringIO((await http.get("/events?user_id=u&format=csv")).text))]
    assert [json.loads(row["metadata"]) for row in table] == [each["metadata"] for each in found]


async def test_open_plays_are_those_that_nothing_has_closed(
    http: httpx.AsyncClient, client: AsyncClient
) -> None:
    rng = random.Random(4)
    now = int(time.time() * 1000)
    events = make_events(rng, 900)
    for event in events:
        event.received_at = now - rng.randrange(1000, 30 * HOUR_MS)
        event.event = rng.choice(["play", "play", "stop"])
    plays = [each for each in events if each.event == "play"]
    closed = [
        Session(
            each.user_id, each.timestamp, each.timestamp + 5, 5, each.kafka_partition, offset,
            received_at=max(each.received_at, now - 20 * HOUR_MS), play_id=each.event_id,
        )
        for offset, each in enumerate(rng.sample(plays, len(plays) // 2))
    ]  # fmt: skip
    await insert(client, "events", events)
    await insert(client, "sessions", closed)
    rows = Rows(events, closed)
    for asked in ("", "user_id=ann", "within_hours=1", "within_hours=48", "metadata.song=b"):
        question = BY_PATH["/sessions/open"].parse(QueryParams(asked).multi_items())
        assert isinstance(question, Question)
        wanted = list_open_plays(question, rows, now)
        found = (await http.get(f"/sessions/open?limit=1000&{asked}")).json()["data"]
        for each in found:
            del each["metadata"]
        assert found == wanted, asked
        assert wanted


async def test_a_user_has_at_most_a_hundred_open_plays(
    http: httpx.AsyncClient, client: AsyncClient
) -> None:
    now = int(time.time() * 1000)
    plays = [Event("u", "play", n, 0, n, received_at=now, event_id=str(n)) for n in range(105)]
    await insert(client, "events", plays)
    found = (await http.get("/sessions/open?limit=1000")).json()["data"]
    assert [each["event_id"] for each in found] == [str(n) for n in reversed(range(5, 105))]


async def test_a_stream_has_what_pages_have(http: httpx.AsyncClient, client: AsyncClient) -> None:
    sessions = make_sessions(random.Random(2), 700)
    await insert(client, "sessions", sessions)
    for form in ("csv", "ndjson"):
        paged = (await http.get(f"/sessions/list?{WHOLE}&limit=1000&format={form}")).text
        streamed = await http.get(f"/sessions/list?{WHOLE}&limit=none&format={form}")
        assert streamed.headers["content-type"].startswith(
            {"csv": "text/csv", "ndjson": "application/x-ndjson"}[form]
        )
        assert sorted(streamed.text.splitlines()) == sorted(paged.splitlines())
    everybody = await http.get("/events?limit=none&format=ndjson")
    assert (everybody.status_code, everybody.text) == (200, "")
