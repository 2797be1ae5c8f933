"""The HTTP side: statuses, headers and bodies, over a real ClickHouse and without one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from query.app import create_app
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings
from tests.query.conftest import without_kafka
from tests.query.rows import Event, Session, insert

pytestmark = pytest.mark.anyio

DATES = "start_date=2025-01-01&end_date=2025-01-31"
AT = 1_735_732_800_000  # 2025-01-01T12:00:00Z


@pytest.fixture
async def http(settings: Settings, client: AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(without_kafka(settings))
    async with app.router.lifespan_context(app), http_of(app) as opened:
        yield opened


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service without ClickHouse."""
    app = create_app(replace(without_kafka(settings), clickhouse="http://u:p@127.0.0.1:1"))
    async with app.router.lifespan_context(app), http_of(app) as opened:
        yield opened


def http_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://track")


async def test_metrics_and_sessions(http: httpx.AsyncClient, client: AsyncClient) -> None:
    await insert(client, "events", [Event("u", "stop", AT, 0, 0), Event("u", "play", AT, 0, 1)])
    await insert(client, "sessions", [Session("u", AT, AT + 1500, 1500, 0, 0)])
    answer = await http.get(f"/metrics?{DATES}&group_by=week")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == '{"status":"success","data":[{"date":"2024-12-29","play":1,"stop":1}]}'
    answer = await http.get(f"/sessions?{DATES}&user_id=u")
    assert answer.text == (
        '{"status":"success","data":[{"date":"2025-01-01","totalDuration":2,"sessionCount":1,'
        '"averageDuration":2}]}'
    )
    assert (await http.get(f"/metrics?{DATES}&user_id=v")).json()["data"] == []


async def test_wrong_questions(http: httpx.AsyncClient) -> None:
    for path in ("/metrics", "/sessions"):
        answer = await http.get(path)
        assert answer.status_code == 400
        assert answer.json() == {
            "status": "error",
            "code": "missing_date",
            "message": "start_date and end_date are required",
        }
        answer = await http.get(f"{path}?start_date=2024-02-30&end_date=2024-03-01")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_date")


async def test_bytes_that_are_no_text(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"/metrics?{DATES}&user_id=%ff%fe&start_date=%ff")
    assert answer.status_code == 400
    answer = await http.get(f"/metrics?{DATES}&user_id=%ff%ed%a0%80")
    assert (answer.status_code, answer.json()["data"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/metrics", 405, "method_not_allowed"),
        ("DELETE", "/sessions", 405, "method_not_allowed"),
    ],
)
async def test_other_paths_and_methods(
    alone: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await alone.request(method, path)
    assert answer.status_code == status
    assert answer.json()["status"] == "error"
    assert answer.json()["code"] == code
    assert answer.json()["message"]
    assert status != 405 or set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("path", "message"),
    [("/metrics", "Failed to fetch metrics"), ("/sessions", "Failed to fetch session metrics")],
)
async def test_clickhouse_is_away(alone: httpx.AsyncClient, path: str, message: str) -> None:
    async with asyncio.timeout(6):
        answer = await alone.get(f"{path}?{DATES}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"].isdigit()
    assert answer.json() == {"status": "error", "code": "unavailable", "message": message}


async def test_health(http: httpx.AsyncClient, alone: httpx.AsyncClient) -> None:
    assert (await http.get("/livez")).status_code == 200
    assert (await http.get("/readyz")).status_code == 200
    assert (await alone.get("/livez")).status_code == 200
    answer = await alone.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_head_is_get_without_a_body(http: httpx.AsyncClient) -> None:
    answer = await http.head(f"/metrics?{DATES}")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "30")


async def test_every_origin_may_read(alone: httpx.AsyncClient) -> None:
    origin = {"origin": "https://shop.example"}
    answer = await alone.get("/metrics", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    answer = await alone.options(
        "/sessions", headers={**origin, "access-control-request-method": "GET"}
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "GET" in answer.headers["access-control-allow-methods"]


async def test_the_page_has_everything_inside(alone: httpx.AsyncClient) -> None:
    answer = await alone.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for outside in ('src="', "@import", "url(http", '<link rel="stylesheet"'):
        assert outside not in answer.text


async def test_the_page_of_the_api_has_what_was_fetched_and_nothing_else(
    settings: Settings, tmp_path: Path
) -> None:
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "secret.txt"):
        (tmp_path / name).write_text(name)
    async with http_of(create_app(without_kafka(settings), tmp_path)) as http:
        page = await http.get("/docs")
        assert (
            page.status_code,
            "script-src 'self'" in page.headers["content-security-policy"],
        ) == (
            200,
            True,
        )
        assert "http" not in page.text.replace("http://www.w3.org/2000/svg", "")
        for name in re.findall(r'(?:src|href)="docs/([^"]+)"', page.text):
            assert (await http.get(f"/docs/{name}")).status_code == 200
        for name in ("secret.txt", "../app.py", "..%2fapp.py", "%2e%2e/app.py", "index.html"):
            assert (await http.get(f"/docs/{name}")).status_code == 404
    async with http_of(create_app(without_kafka(settings))) as http:
        assert (await http.get("/docs")).status_code == 404


async def test_a_bug_is_a_500_in_the_one_shape(
    alone: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("query.parsing.parse_question", fail)
    answer = await alone.get("/metrics")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
