"""What must hold for any bytes that come to a route of the table.

In: a sample: a body and headers. Out: nothing, or an exception. Never: a server.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from contracts.events import Event, Rejected
from contracts.records import parse_record
from ingest.answers import STATUS
from ingest.batch import Batch
from ingest.dialects.table import ENTRIES, MAX_BATCH_BYTES, Entry
from ingest.reading import Reader
from runtime.access.guards import Guard
from runtime.access.key_ring import KeyRing
from runtime.access.keys import Scope
from tests.fuzz.records import read_record

Headers = list[tuple[str, bytes]]
ASKED = ("/track/batch", "/v1/batch", "/v1/page", "/batch", "/cloudevents", "/pixel.gif")
_ENTRIES = {each.path: each for each in ENTRIES}
_guard = Guard(KeyRing(Path("/nowhere/keys")), Scope.WRITE)
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


def check_batches(sample: bytes) -> None:
    """What is taken is an event, what is reported is kept and will be rejected for that reason."""
    request = read_record(sample, 0, 0)
    if request is None:
        return
    body = request.value or b""
    headers = [
        (name.lower().encode("latin-1", "replace"), content or b"")
        for name, content in request.headers
        if name.lower() != "content-length" or (content or b"").isdigit()  # the server sees to it
    ]
    for path in ASKED:
        publisher = InMemory()
        query = body if path == "/pixel.gif" else b""
        status, answer = _loop.run_until_complete(
            _send(_ENTRIES[path], publisher, b"" if query else body, headers, query)
        )
        _check_published(publisher)
        if path == "/pixel.gif" and status == 200:
            continue
        told = json.loads(answer)
        assert status == (STATUS[told["code"]] if "code" in told else 200)
        if status == 200:
            reported = Counter(each["code"] for each in told.get("rejected", ()))
            assert sum(reported.values()) == len(publisher.kept)
            assert told.get("accepted", len(publisher.events)) == len(publisher.events)
            assert reported == _reasons_of(publisher)


def _check_published(publisher: InMemory) -> None:
    for user_id, value, headers in publisher.events:
        event = parse_record(value, headers)
        assert isinstance(event, Event), event
        assert event.user_id == user_id


def _reasons_of(publisher: InMemory) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for value, headers in publisher.kept:
        rejected = parse_record(value, headers)
        assert isinstance(rejected, Rejected), "what was reported is taken all the same"
        reasons[rejected.reason] += 1
    return reasons


async def _send(
    entry: Entry,
    publisher: InMemory,
    body: bytes,
    headers: list[tuple[bytes, bytes]],
    query: bytes,
) -> tuple[int, bytes]:
    said: list[Any] = []
    scope = {
        "type": "http", "method": entry.method, "path": entry.path, "query_string": query,
        "headers": headers,
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await Batch(entry, publisher, _guard, Reader(MAX_BATCH_BYTES))(scope, receive, send)
    start, end = said
    assert all(b"\r" not in value and b"\n" not in value for _, value in start["headers"])
    return start["status"], end["body"]


def _done() -> asyncio.Future[bool]:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done.set_result(True)
    return done
