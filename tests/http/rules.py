"""What schemathesis asks beside the document: is each answer the one that the rules give?

In: a request as it was sent, and its answer. Out: nothing, or a failure. It is loaded by the
program schemathesis, through SCHEMATHESIS_HOOKS.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from requests import PreparedRequest
from starlette.datastructures import QueryParams

from contracts.events import Event, Rejected, check_event_id, parse_event
from ingest.ids import header_of, parse_idempotency_key
from query.formats import with_format
from query.question import Refusal
from query.table import BY_PATH


@schemathesis.check
def answered_as_the_rules_say(
    _: schemathesis.CheckContext, response: schemathesis.Response, __: schemathesis.Case[Any]
) -> None:
    """Hold an answer against the pure functions."""
    request: PreparedRequest = response.request
    url, status = urlsplit(request.url), response.status_code
    if request.method == "POST" and url.path == "/track" and status in {200, 400, 413}:
        wanted = _of_an_event(request, response)
    elif request.method == "GET" and url.path in BY_PATH and status in {200, 400}:
        query = url.query if isinstance(url.query, str) else url.query.decode()
        accept = request.headers.get("Accept", "")
        asked = with_format(QueryParams(query).multi_items(), str(accept))
        refusal = BY_PATH[url.path].parse(asked)
        wanted = (400, refusal.code) if isinstance(refusal, Refusal) else (200, None)
    else:
        return
    is_json = "application/json" in response.headers["content-type"]
    assert (status, response.json().get("code") if is_json else None) == wanted


def _of_an_event(
    request: PreparedRequest, response: schemathesis.Response
) -> tuple[int, str | None]:
    body = request.body or b""
    assert isinstance(body, str | bytes), "a request of one piece"
    event = parse_event(body.encode() if isinstance(body, str) else body)
    if isinstance(event, Rejected):
        return 413 if event.reason == "too_large" else 400, event.reason
    event_id = event.event_id
    given = request.headers.get("Idempotency-Key")
    if event_id is None and given is not None:
        event_id = parse_idempotency_key(
            given if isinstance(given, bytes) else given.encode("latin-1")
        )
        if event_id is None or check_event_id(event_id) is not None:
            return 400, "invalid_event_id"
    assert isinstance(event, Event)
    if event_id is not None:
        assert response.headers["x-event-id"] == [header_of(event_id).decode()]
    return 200, None


@schemathesis.serializer("application/x-ndjson")
def as_lines(_: schemathesis.SerializationContext, value: object) -> bytes:
    """Write what stands for lines as it is, and anything else as one."""
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode()
