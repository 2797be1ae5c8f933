"""The endpoint by itself, over a publisher in memory: what it answers where something is wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from contracts.events import MAX_EVENT_BYTES
from contracts.metrics import HTTP_REFUSALS, HTTP_REQUESTS
from ingest.cors import OPEN_TO_ALL
from ingest.measures import samples_of
from ingest.publisher import Traffic
from ingest.reading import Reader
from ingest.track import Track
from runtime.access.guards import Guard
from runtime.access.key_ring import KeyRing
from runtime.access.keys import Scope

pytestmark = pytest.mark.anyio
BODY = b'{"event":"play","user_id":"u"}'
Headers = list[tuple[bytes, bytes]]


class Broken:
    """A way into Kafka that has a bug."""

    traffic = Traffic()

    def put(self, user_id: str, value: bytes, headers: object) -> asyncio.Future[bool]:
        raise LookupError("a bug")


class Working(Broken):
    """A way into Kafka that takes all."""

    def put(self, user_id: str, value: bytes, headers: object) -> asyncio.Future[bool]:
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        taken.set_result(True)
        return taken


async def ask(track: Track, headers: Headers, body: bytes = BODY) -> tuple[Any, Any]:
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await track({"type": "http", "headers": headers}, receive, send)
    start, end = said
    return start, end


def track_over(publisher: Broken, keys: Path) -> Track:
    return Track(publisher, Guard(KeyRing(keys), Scope.WRITE), Reader(MAX_EVENT_BYTES))


async def test_a_bug_is_answered_as_all_errors_are_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Broken()
    track = track_over(publisher, tmp_path / "keys")
    for headers, body in (([], BODY), ([(b"content-encoding", b"gzip")], gzip.compress(BODY))):
        start, end = await ask(track, headers, body)
        assert start["status"] == 500
        assert {*OPEN_TO_ALL, (b"connection", b"close")} <= set(start["headers"])
        assert json.loads(end["body"])["code"] == "internal_error"
    samples = [(name, labels, value) for name, labels, value in samples_of(track, [], publisher)]
    assert (HTTP_REFUSALS, ("internal_error",), 2) in samples
    assert (HTTP_REQUESTS, ("/track", "POST", "500"), 2) in samples
    assert "LookupError: a bug" in caplog.text


async def test_a_second_line_of_content_encoding_is_refused(tmp_path: Path) -> None:
    track = track_over(Working(), tmp_path / "keys")
    gzipped, plain = (b"content-encoding", b"gzip"), (b"content-encoding", b"identity")
    for lines in ([gzipped, plain], [plain, gzipped], [gzipped, gzipped], [plain, plain]):
        start, end = await ask(track, lines)
        assert (start["status"], json.loads(end["body"])["code"]) == (415, "unsupported_encoding")
    twice = [(b"x-other", b"1"), (b"x-other", b"2")]
    assert (await ask(track, [gzipped, *twice], gzip.compress(BODY)))[0]["status"] == 200
    assert (await ask(track, [plain, *twice]))[0]["status"] == 200


async def test_whoever_has_no_key_is_counted(tmp_path: Path) -> None:
    keys, publisher = tmp_path / "keys", Working()
    keys.write_text("")
    track = track_over(publisher, keys)
    start, _ = await ask(track, [])
    assert start["status"] == 401
    samples = [(name, labels, value) for name, labels, value in samples_of(track, [], publisher)]
    assert (HTTP_REFUSALS, ("missing_key",), 1) in samples
    assert (HTTP_REQUESTS, ("/track", "POST", "401"), 1) in samples
