"""Requests to an endpoint of ingest by itself: a sample, a guard and a publisher in memory.

In: a sample, the JSON of a body and headers in Latin-1. Out: an answer, and what was published.
Never: a server.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ingest.endpoint import Endpoint
from runtime.access.guards import Guard
from runtime.access.key_ring import KeyRing
from runtime.access.keys import Scope
from tests.fuzz.records import read_record

Headers = list[tuple[str, bytes]]
RequestHeaders = list[tuple[bytes, bytes]]
OPEN_GUARD = Guard(KeyRing(Path("/nowhere/keys")), Scope.WRITE)
_loop = asyncio.new_event_loop()


class InMemory:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bytes, Headers]] = []
        self.kept: list[tuple[bytes, Headers]] = []

    def put(self, user_id: str, value: bytes, headers: Headers) -> asyncio.Future[bool]:
        self.events.append((user_id, value, headers))
        return _done()

    def put_anywhere(self, value: bytes, headers: Headers) -> asyncio.Future[bool]:
        self.kept.append((value, headers))
        return _done()


def read_request(sample: bytes) -> tuple[bytes, RequestHeaders] | None:
    """Return the body and the headers of a sample; None where it is none."""
    request = read_record(sample, 0, 0)
    if request is None:
        return None
    headers = [
        (name.lower().encode("latin-1", "replace"), content or b"")
        for name, content in request.headers
        if name.lower() != "content-length" or (content or b"").isdigit()  # the server sees to it
    ]
    return request.value or b"", headers


def send(
    endpoint: Endpoint, body: bytes, headers: RequestHeaders, query: bytes = b""
) -> tuple[int, bytes]:
    """Return the status and the body of the answer, whose headers are one line each."""
    return _loop.run_until_complete(_send(endpoint, body, headers, query))


async def _send(
    endpoint: Endpoint, body: bytes, headers: RequestHeaders, query: bytes
) -> tuple[int, bytes]:
    said: list[Any] = []
    scope = {
        "type": "http", "method": endpoint.method, "path": endpoint.path, "query_string": query,
        "headers": headers,
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def answer(message: Any) -> None:
        said.append(message)

    await endpoint(scope, receive, answer)
    start, end = said
    for name, value in start["headers"]:
        assert b"\r" not in value, name
        assert b"\n" not in value, name
    return start["status"], end["body"]


def _done() -> asyncio.Future[bool]:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done.set_result(True)
    return done
