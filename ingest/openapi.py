"""What ingest says of itself in OpenAPI: POST /track, its event and its answers.

In: the types, limits and answers of the code. Out: a part of the document. Never: a limit or a
sentence that the code does not have; an error's example is what the code says to a bad event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from contracts.events import (
    DERIVED_ID_MARK,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_LENGTH,
    RESERVED_NAME,
    Event,
    Reason,
    Rejected,
    parse_event,
)
from contracts.metadata import MAX_METADATA_BYTES, MAX_METADATA_DEPTH
from ingest.answers import LOGGED_BODY, UNAVAILABLE, Answer, Problem, error, logged
from ingest.encodings import flaws
from ingest.requests import REFUSALS, TYPES
from ingest.track import OVER_LIMIT, OVERLOADED, TOO_SLOW
from runtime.access.keys import Scope
from runtime.http.openapi import (
    JSON,
    LIMITS_TOLD,
    Node,
    Part,
    Told,
    failures,
    guarded,
    refusals,
    success,
    told,
)

PATH = "/track"
# A record of Kafka or a row can have these, a body of POST /track cannot.
NEVER_OF_A_BODY = frozenset((Reason.INVALID_CLOUDEVENT, Reason.NO_VALUE, Reason.REFUSED_BY_STORAGE))
# Starlette's, at a path or with a method that the document does not have.
NOT_OF_THE_PATH = frozenset((Problem.NOT_FOUND, Problem.METHOD_NOT_ALLOWED, Problem.INTERNAL_ERROR))

_EXAMPLES: Mapping[str, object] = {
    "event": "play",
    "user_id": "ada",
    "timestamp": "2025-01-18T14:00:00Z",
    "metadata": {"song_id": "s-17", "device": "phone"},
    "event_id": "0198c0de-1",
}
_ABOUT: Mapping[str, str] = {
    "event": f"What was done; any name but {RESERVED_NAME!r}, which labels periods",
    "user_id": "Who did it; any characters",
    "timestamp": "When: RFC 3339 with T and Z or an offset, not before 1970; what is finer than "
    "milliseconds is cut off. Default: the time of receipt. One in the future becomes that time",
    "metadata": f"Anything about it, at most {MAX_METADATA_DEPTH} levels deep; of more than "
    f"{MAX_METADATA_BYTES} bytes of compact JSON those keys are kept that fit, in their order",
    "event_id": "Names the event: the same id from the same user is one event. Must not begin "
    f"with {DERIVED_ID_MARK!r}. Goes before the header Idempotency-Key",
}
# What the types of msgspec cannot say.
_RULES: Mapping[str, Node] = {
    "event": {"not": {"const": RESERVED_NAME}},
    "timestamp": {"format": "date-time"},
    "event_id": {"pattern": f"^[^{DERIVED_ID_MARK}]"},
}
# A bad event for each reason; the code says what is wrong with it.
_BAD: Mapping[Reason, bytes] = {
    Reason.INVALID_JSON: b'{"event":"play"',
    Reason.INVALID_EVENT: b'{"event":"date","user_id":"ada"}',
    Reason.INVALID_USER_ID: b'{"event":"play"}',
    Reason.INVALID_TIMESTAMP: b'{"event":"play","user_id":"ada","timestamp":"yesterday"}',
    Reason.INVALID_METADATA: b'{"event":"play","user_id":"ada","metadata":[]}',
    Reason.INVALID_EVENT_ID: b'{"event":"play","user_id":"ada","event_id":""}',
}


def ingest_part() -> Part:
    """Return the part of ingest."""
    errors = *map(_told, _answers()), *refusals(Scope.WRITE)
    operation = {
        "operationId": "track",
        "summary": "Log an event",
        "description": "Answered once Kafka has acknowledged the event, which is then counted "
        "exactly once. Send an event_id or Idempotency-Key, and the same one with every retry.",
        "tags": ["events"],
        **guarded(Scope.WRITE),
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {
            "description": f"One JSON object of at most {MAX_EVENT_BYTES} bytes, whatever of these "
            "types it is called; fields beyond these are ignored",
            "required": True,
            "content": dict(_contents()),
        },
        "responses": {"200": _logged(), **failures(errors)},
    }
    return Part({PATH: {"post": operation}}, {Event.__name__: event_schema()})


def event_schema() -> Node:
    """Return the schema of an event as it is sent, made from the struct that reads it."""
    fields: list[Any] = []
    for each in msgspec.structs.fields(Event):
        kind: Any = dict[str, Any] | None if each.type is Raw else each.type
        default = {} if each.required else {"default": None}
        fields.append((each.encode_name, kind, msgspec.field(**default)))
    sent = msgspec.defstruct(Event.__name__, fields)
    schema: Node = msgspec.json.schema_components([sent])[1][Event.__name__]
    for name, field in schema["properties"].items():
        # The default is to leave it out; null is only the same.
        field.pop("default", None)
        _text_of(field).update(_RULES.get(name, {}))
        field.update(description=_ABOUT[name], examples=[_EXAMPLES[name]])
    return {**schema, "description": "One event", "examples": [dict(_EXAMPLES)]}


def _text_of(field: Node) -> Node:
    """Return the schema of a field's text, where it may be null as well."""
    return next((each for each in field.get("anyOf", ()) if each.get("type") != "null"), field)


def _contents() -> Iterator[tuple[str, Node]]:
    event = {"$ref": f"#/components/schemas/{Event.__name__}"}
    yield JSON, {"schema": event, "example": dict(_EXAMPLES)}
    for media in sorted(TYPES - {"", JSON}):
        text = {"type": "string", "contentMediaType": JSON, "contentSchema": event}
        yield media, {"schema": text, "example": '{"event":"play","user_id":"ada"}'}


def _logged() -> Node:
    body = msgspec.json.decode(LOGGED_BODY["body"])
    named = dict(logged(b"0198c0de-1", ())["headers"])
    schema = {
        "type": "object",
        "required": list(body),
        "properties": {name: {"const": value} for name, value in body.items()},
        "additionalProperties": False,
    }
    header = {
        "description": "The event's id, sent or made: UTF-8, percent-encoded but for unreserved "
        "characters",
        "required": True,
        "schema": {"type": "string", "pattern": "^(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+$"},
        "example": named[b"x-event-id"].decode(),
    }
    return success("Kafka has the event", schema, body, {"X-Event-Id": header, **LIMITS_TOLD})


def _answers() -> Iterator[Answer]:
    for reason, body in _BAD.items():
        rejected = parse_event(body)
        if not isinstance(rejected, Rejected) or rejected.reason is not reason:
            raise ValueError(f"the example of {reason} is answered with {rejected}")
        yield error(reason, rejected.message)
    yield from REFUSALS
    yield from flaws()
    yield from (OVER_LIMIT, TOO_SLOW, UNAVAILABLE, OVERLOADED)


def _told(answer: Answer) -> Told:
    start, end = answer
    return told(start["status"], start["headers"], end["body"])


_IDEMPOTENCY_KEY: Node = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": f"The event_id of an event whose body has none: 1 to {MAX_EVENT_ID_LENGTH} "
    f"characters, not beginning with {DERIVED_ID_MARK!r}, bare or as a quoted string",
    "schema": {"type": "string"},
    "example": "order-4711",
}
