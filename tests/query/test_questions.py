"""Every question with random parameters, over HTTP, against plain Python over the same rows."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from query.app import create_app
from query.parameters import Parameter
from query.question import Question
from query.table import BY_PATH, ENTRIES, Entry
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings
from tests.query.conftest import without_kafka
from tests.query.plain import Rows, answer
from tests.query.rows import NAMES, USERS, VALUES, insert, make_events, make_sessions
from tests.query.test_app import http_of

pytestmark = pytest.mark.anyio

COMBINATIONS = 1_000
ZONES = [
    "UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland", "Australia/Lord_Howe",
    "America/St_Johns", "Europe/Dublin", "Pacific/Apia", "Asia/Beirut",
]  # fmt: skip
# What changes as time passes is asked for elsewhere.
PATHS = [each.path for each in ENTRIES if each.path != "/sessions/open"]
LISTS = {"/sessions/list", "/events"}


@pytest.fixture
def rows() -> Rows:
    rng = random.Random(11)
    return Rows(make_events(rng), make_sessions(rng))


@pytest.fixture
async def http(
    settings: Settings, client: AsyncClient, rows: Rows
) -> AsyncIterator[httpx.AsyncClient]:
    for part in (slice(None, None, 2), slice(1, None, 2)):
        await insert(client, "events", rows.events[part])
        await insert(client, "sessions", rows.sessions[part])
    app = create_app(without_kafka(settings))
    async with app.router.lifespan_context(app), http_of(app) as opened:
        yield opened


def dates(rng: random.Random, entry: Entry) -> Mapping[str, str]:
    """A range that the entry takes; the whole time and the edges of it now and then."""
    if entry.path != "/sessions/concurrent" and rng.random() < 0.15:
        return {"start_date": "0001-01-01", "end_date": "9999-12-31"}
    start = date(1969, 12, 30) if rng.random() < 0.05 else date(2023, 12, 25)
    start += timedelta(days=rng.randrange(5 if start.year < 1970 else 740))
    days = rng.choice([0, 1, 6, rng.randrange(60)])
    return {"start_date": str(start), "end_date": str(start + timedelta(days=days))}


def texts(rng: random.Random, parameter: Parameter) -> list[tuple[str, str]]:
    """Values of a parameter, none now and then."""
    name = parameter.name
    if rng.random() < 0.5:
        return []
    if "enum" in parameter.schema:
        return [(name, rng.choice(parameter.schema["enum"]))]
    if parameter.is_family:
        key, values = rng.choice([*VALUES.items(), ("way.down", ["here", 1]), ("no", ["x"])])
        value = rng.choice(values)
        text = value if isinstance(value, str) else json.dumps(value)
        return [(f"{name}{key}", "3" if text == "3.0" else text)]
    match name:
        case "user_id":
            return [(name, rng.choice(USERS))]
        case "timezone":
            return [(name, rng.choice(ZONES))]
        case "event":
            return [(name, rng.choice([*NAMES, "nothing"])) for _ in range(rng.randrange(1, 4))]
        case "by":
            paths = [*VALUES, "way.down", "no"]
            places = [f"{place}.{key}" for place in ("metadata", "attributes") for key in paths]
            return [(name, rng.choice(["event", *places]))]
        case "limit":
            return [(name, str(rng.choice([1, 2, 7, 1000])))]
    return []


def combination(rng: random.Random) -> tuple[Entry, list[tuple[str, str]], Question]:
    """A question that its entry takes."""
    while True:
        entry = BY_PATH[rng.choice(PATHS)]
        asked = [pair for each in entry.parameters for pair in texts(rng, each)]
        if any(each.name == "start_date" for each in entry.parameters):
            asked += dates(rng, entry).items()
        question = entry.parse(asked)
        if isinstance(question, Question):
            return entry, asked, question


async def ask(http: httpx.AsyncClient, path: str, asked: list[tuple[str, str]]) -> httpx.Response:
    found = await http.get(f"{path}?{urlencode(asked)}")
    assert found.status_code == 200, (path, asked, found.text)
    return found


async def everything(
    http: httpx.AsyncClient, path: str, asked: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The records of all pages."""
    asked = [pair for pair in asked if pair[0] not in {"format", "cursor"}]
    records: list[dict[str, Any]] = []
    cursor: list[tuple[str, str]] = []
    while True:
        found = (await ask(http, path, [*asked, *cursor])).json()
        records += found["data"]
        if "next" not in found:
            return records
        cursor = [("cursor", found["next"])]


def without_values(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metadata and attributes come back in an order of their own; elsewhere they are compared."""
    return [
        {key: value for key, value in each.items() if key not in {"metadata", "attributes"}}
        for each in records
    ]


@pytest.mark.timeout(900)
async def test_all_answers_are_those_of_plain_python(http: httpx.AsyncClient, rows: Rows) -> None:
    rng = random.Random(5)
    found_something = 0
    for _ in range(COMBINATIONS):
        entry, asked, question = combination(rng)
        wanted = answer(entry.path, question, rows)
        if entry.path in LISTS:
            asked = [("limit", "700") if pair[0] == "limit" else pair for pair in asked]
            records = without_values(await everything(http, entry.path, asked))
        else:
            asked = [pair for pair in asked if pair[0] != "format"]
            records = (await ask(http, entry.path, asked)).json()["data"]
        assert records == wanted, (entry.path, asked)
        found_something += bool(wanted)
    assert found_something > COMBINATIONS / 2
