"""Keys of /metrics and /sessions; the page and health need none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from cli.keys import add_key
from query.app import create_app
from runtime.access.keys import Scope
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings
from tests.query.conftest import without_kafka
from tests.query.test_app import DATES, http_of

pytestmark = pytest.mark.anyio
PATHS = ("/metrics", "/sessions")


@pytest.fixture
def secrets(settings: Settings) -> dict[Scope, str]:
    return {
        scope: add_key(settings.keys_file, scope.value, [scope], datetime.now(UTC))
        for scope in Scope
    }


@pytest.fixture
async def http(
    settings: Settings, client: AsyncClient, secrets: dict[Scope, str]
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(without_kafka(settings))
    async with app.router.lifespan_context(app), http_of(app) as opened:
        yield opened


async def test_a_read_key_opens(http: httpx.AsyncClient, secrets: dict[Scope, str]) -> None:
    secret = secrets[Scope.READ]
    for path in PATHS:
        for auth in ({"authorization": f"Bearer {secret}"}, {"x-read-key": secret}):
            answer = await http.get(f"{path}?{DATES}", headers=auth)
            assert (answer.status_code, answer.json()["data"]) == (200, [])
        answer = await http.get(f"{path}?{DATES}", auth=(secret, ""))
        assert answer.status_code == 200


async def test_nothing_else_does(http: httpx.AsyncClient, secrets: dict[Scope, str]) -> None:
    writer = {"authorization": f"Bearer {secrets[Scope.WRITE]}"}
    for path in PATHS:
        for headers, status, code in (
            ({}, 401, "missing_key"),
            ({"x-read-key": "nobody"}, 401, "unknown_key"),
            ({"x-write-key": secrets[Scope.READ]}, 401, "missing_key"),
            (writer, 403, "missing_scope"),
        ):
            answer = await http.get(f"{path}?start_date=nonsense", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert answer.json()["status"] == "error"
            assert answer.headers["www-authenticate"].startswith('Bearer realm="track"')
        assert (await http.head(f"{path}?{DATES}")).status_code == 401
        assert (await http.get(f"{path}?{DATES}&key={secrets[Scope.READ]}")).status_code == 401


async def test_several_keys_are_none(http: httpx.AsyncClient, secrets: dict[Scope, str]) -> None:
    header = ("authorization", f"Bearer {secrets[Scope.READ]}")
    answer = await http.get(f"/metrics?{DATES}", headers=[header, header])
    assert (answer.status_code, answer.json()["code"]) == (401, "several_keys")


async def test_the_page_health_and_preflights_need_no_key(http: httpx.AsyncClient) -> None:
    for path in ("/", "/livez", "/readyz"):
        assert (await http.get(path)).status_code == 200
    asking = {
        "origin": "https://shop.example",
        "access-control-request-method": "GET",
        "access-control-request-headers": "authorization",
    }
    answer = await http.options("/metrics", headers=asking)
    assert answer.status_code == 200
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert (await http.get("/nowhere")).status_code == 404


async def test_questions_have_limits_too(
    settings: Settings, client: AsyncClient, secrets: dict[Scope, str]
) -> None:
    app = create_app(replace(without_kafka(settings), rate_per_key=1, rate_burst_s=3))
    async with app.router.lifespan_context(app), http_of(app) as http:
        http.headers["x-read-key"] = secrets[Scope.READ]
        first = await http.get(f"/metrics?{DATES}")
        assert first.headers["ratelimit-policy"] == '"key";q=3;w=3'
        assert first.headers["ratelimit"] == '"key";r=2;t=1'
        answers = [await http.get(f"/sessions?{DATES}") for _ in range(10)]
    assert answers[0].status_code == 200
    refused = next(each for each in answers if each.status_code != 200)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit"].startswith('"key";r=0;t=')
