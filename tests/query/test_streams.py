"""Answers of any length, and readers that go away: against `track query` as a process."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import ClientDisconnect

from query import store as stores
from query.app import create_app
from query.statements.ranking import Ranked
from query.statements.statement import Cost, Statement
from query.store import Excess, ExcessiveError, Store
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings
from tests.ingest.service import Service, memory_of, start
from tests.query.conftest import without_kafka
from tests.query.test_app import DATES, http_of

pytestmark = pytest.mark.anyio

MANY, ENOUGH = 2_000_000, 200_000  # for a stream that is read, and one that is not
WITHIN_S = 20.0
STREAM = "/sessions/list?start_date=2025-01-01&end_date=2025-12-31&limit=none&format=ndjson"
MOST_GROWTH = 32 * 1024 * 1024
_INSERT_MANY = """
INSERT INTO sessions (session_id, user_id, started_at, ended_at, duration_ms, attributes, play_id,
    stop_id, received_at, log_offset, kafka_partition, kafka_offset)
SELECT hex(sipHash128(number)), concat('user-', toString(number % 1000)),
    fromUnixTimestamp64Milli(toInt64(1735689600000 + number * 1000), 'UTC') AS at, at, 0, '{"n":1}',
    'p', 's', now64(3), number, number % 4, number
FROM numbers({count:UInt64})
"""
_COUNT_QUERIES = """
SELECT count() FROM system.processes
WHERE current_database = currentDatabase() AND query NOT LIKE '%system.processes%'
"""
_SLOW = (
    "SELECT toString(sleepEachRow(0.5)) AS value, number FROM numbers(400) "
    "SETTINGS max_block_size=1"
)


@pytest.fixture
async def many(client: AsyncClient) -> None:
    """So many sessions that a stream of them takes a while."""
    await client.command(_INSERT_MANY, parameters={"count": MANY})


@pytest.fixture
async def enough(client: AsyncClient) -> None:
    """So many that a stream of them, 36 MB, does not fit into what lies between it and a reader."""
    await client.command(_INSERT_MANY, parameters={"count": ENOUGH})


@pytest.fixture
def service(settings: Settings, client: AsyncClient, tmp_path: Path) -> Iterator[Service]:
    with start(settings, tmp_path, "query") as running:
        running.wait_until("/readyz", 200)
        yield running


@pytest.mark.usefixtures("many")
async def test_a_stream_of_millions_takes_no_memory(service: Service) -> None:
    before, lines = memory_of(service), 0
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("GET", service.url + STREAM) as found,
    ):
        assert found.status_code == 200
        async for piece in found.aiter_bytes():
            lines += piece.count(b"\n")
    assert lines == MANY
    assert memory_of(service, "VmHWM") - before < MOST_GROWTH


@pytest.mark.usefixtures("enough")
async def test_a_reader_that_goes_away_ends_its_stream(
    service: Service, client: AsyncClient
) -> None:
    for _ in range(stores.STREAMS_AT_ONCE + 1):
        with socket.create_connection(service.address, timeout=20) as connection:
            connection.sendall(f"GET {STREAM} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            assert await running(client) == 1
        await until(client, 0, WITHIN_S)
    assert "Traceback" not in service.log.read_text()


@pytest.mark.usefixtures("enough")
async def test_a_head_reads_nothing(service: Service, client: AsyncClient) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        began = time.monotonic()
        found = await http.head(service.url + STREAM)
        assert (found.status_code, found.content) == (200, b"")
        assert found.headers["content-type"] == "application/x-ndjson"
        assert time.monotonic() - began < 2
    await until(client, 0, WITHIN_S)


async def test_there_are_only_so_many_streams(store: Store) -> None:
    async with asyncio.timeout(20):
        opened = [store.stream(slow(), "JSONEachRow") for _ in range(stores.STREAMS_AT_ONCE)]
        for each in opened:
            await each.__aenter__()
        with pytest.raises(stores.StoreUnavailableError):
            await store.stream(slow(), "JSONEachRow").__aenter__()
        for each in opened:
            await each.__aexit__(None, None, None)
        async with store.stream(slow(), "JSONEachRow"):
            pass


async def test_a_stream_whose_client_is_gone_before_it_begins_keeps_no_place(
    settings: Settings, client: AsyncClient
) -> None:
    app = create_app(without_kafka(settings))
    path, _, query = STREAM.partition("?")
    scope: dict[str, Any] = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "headers": [],
        "query_string": query.encode(), "client": ("127.0.0.1", 1), "server": None,
        "scheme": "http", "root_path": "", "raw_path": path.encode(),
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip

    async def gone(_: Any) -> None:
        raise OSError

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async with app.router.lifespan_context(app), http_of(app) as http:
        for _ in range(stores.STREAMS_AT_ONCE + 1):
            with pytest.raises(ClientDisconnect):
                await app(scope, receive, gone)
        assert (await http.get(STREAM)).status_code == 200
    await until(client, 0, WITHIN_S)


async def test_an_answer_that_nobody_waits_for_ends_its_query(
    store: Store, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_FOR_ROWS", {**stores._FOR_ROWS, "max_execution_time": 90})
    assert await store.is_ready()  # else it would be connecting, with queries of its own
    await until(client, 0, WITHIN_S)
    asked = asyncio.create_task(store.ask(slow()))
    await until(client, 1, WITHIN_S)
    asked.cancel()
    await until(client, 0, WITHIN_S)


async def test_the_work_for_a_client_that_has_gone_is_cancelled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, cancelled = anyio.Event(), anyio.Event()

    async def never(*_: object) -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    monkeypatch.setattr(Store, "ask", never)

    async def receive() -> dict[str, Any]:
        await began.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    app = create_app(without_kafka(settings))
    scope: dict[str, Any] = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": "/metrics", "headers": [],
        "query_string": DATES.encode(), "client": ("127.0.0.1", 1), "server": None,
        "scheme": "http", "root_path": "", "raw_path": b"/metrics",
    }  # fmt: skip
    async with app.router.lifespan_context(app):
        with anyio.fail_after(5):
            await app(scope, receive, send)
    assert cancelled.is_set()


@pytest.mark.usefixtures("enough")
async def test_a_stream_that_is_cut_off_is_not_taken_for_a_whole_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        stores, "_FOR_STREAM", {**stores._FOR_STREAM, "max_result_rows": ENOUGH // 2}
    )
    app = create_app(without_kafka(settings))
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://track") as http,
    ):
        with pytest.raises(stores.CutOffError):
            await http.get(STREAM)


@pytest.mark.parametrize(
    ("limits", "excess", "status", "code"),
    [
        ({"max_rows_to_read": 10}, Excess.ROWS, 400, "too_much"),
        ({"max_memory_usage": 1_000_000}, Excess.MEMORY, 400, "too_much"),
        (
            {"max_execution_time": 0.001, "timeout_before_checking_execution_speed": 0},
            Excess.TIME,
            503,
            "too_slow",
        ),
    ],
)
@pytest.mark.usefixtures("enough")
async def test_a_question_that_takes_too_much_says_what_to_narrow(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, float],
    excess: Excess,
    status: int,
    code: str,
) -> None:
    monkeypatch.setattr(stores, "_FOR_ROWS", {**stores._FOR_ROWS, **limits})
    app = create_app(without_kafka(settings))
    async with app.router.lifespan_context(app), http_of(app) as http:
        answer = await http.get(f"/sessions?{DATES}&stats=extended")
    assert (answer.status_code, answer.json()["code"]) == (status, code), (excess, answer.text)
    assert "narrow start_date and end_date" in answer.json()["message"]


async def test_the_excess_is_told(store: Store) -> None:
    statement = Statement("SELECT '', number FROM numbers(3000000000)", {}, Ranked, Cost.ROWS)
    with pytest.raises(ExcessiveError) as caught:
        await store.ask(statement)
    assert caught.value.excess is Excess.ROWS


def slow() -> Statement[Ranked]:
    return Statement(_SLOW, {}, Ranked, Cost.ROWS)


async def running(client: AsyncClient) -> int:
    return int((await client.query(_COUNT_QUERIES)).first_row[0])


async def until(client: AsyncClient, queries: int, within_s: float) -> None:
    """Wait until so many run."""
    began = time.monotonic()
    while (found := await running(client)) != queries:
        assert time.monotonic() - began < within_s, f"{found} run, not {queries}"
        await asyncio.sleep(0.05)
