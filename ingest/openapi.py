"""What ingest says of itself in OpenAPI: its routes, their events and answers.

In: the types, limits and answers of the code. Out: a part of the document. Never: a limit or a
sentence that the code does not have; an error's example is what the code says to a bad event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
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
from ingest.answers import LOGGED_BODY, OVERLOADED, UNAVAILABLE, Answer, Problem, error, logged
from ingest.batch import TOO_MANY
from ingest.dialects.cloudevents import NEITHER
from ingest.dialects.described import Description, describe
from ingest.dialects.table import ENTRIES, Entry
from ingest.encodings import flaws
from ingest.posthog_browser import CONFIG_PATH, CONFIG_SCRIPT_PATH, FLAGS_PATHS, SCRIPT_MEDIA
from ingest.reading import too_slow
from ingest.requests import TYPES, Bodies
from ingest.segment_browser import METRICS_PATH, SETTINGS_PATH
from ingest.track import BODIES, PATH
from runtime.access.keys import Scope
from runtime.http.openapi import (
    JSON,
    LIMITS_TOLD,
    OPEN,
    Node,
    Part,
    Told,
    failures,
    guarded,
    refusals,
    success,
    told,
)

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
    errors = *map(_told, (*_of_an_event(), *_of_a_request(BODIES))), *refusals(Scope.WRITE)
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
    paths = {PATH: {"post": operation}, **{each.path: _route(each) for each in ENTRIES}, **_pages()}
    return Part(paths, {Event.__name__: event_schema()})


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


def _route(entry: Entry) -> Node:
    """Return the Path Item of a route of the table."""
    described = describe(entry)
    answers = [*_of_a_request(entry.bodies), _UNREADABLE, _OPEN_KEY]
    if described.is_about_one:
        answers += _of_an_event(described.never)
    if entry.method == "POST":
        answers.append(TOO_MANY)
    if entry.dialect == "cloudevents":
        answers.append(error(NEITHER.reason, NEITHER.message))
    errors = *map(_told, answers), *refusals(Scope.WRITE)
    media = entry.media.decode()
    schema = described.answer or {"type": "string", "contentMediaType": media}
    taken = {"description": "Kafka has all of it", "content": {media: {"schema": schema}}}
    operation = {
        "operationId": _OPERATION(entry.path[1:]),
        "summary": described.about,
        "tags": ["events" if entry.dialect == "track" else entry.dialect],
        **guarded(Scope.WRITE),
        "parameters": [_IDEMPOTENCY_KEY, *_parameters(described)],
        **_body_of(described),
        "responses": {"200": {**taken, "headers": dict(LIMITS_TOLD)}, **failures(errors)},
    }
    return {entry.method.lower(): operation}


def _body_of(described: Description) -> Node:
    if not described.contents:
        return {}
    content = {
        media: {
            "schema": _LINES if isinstance(example, str) else described.schema,
            "example": example,
        }
        for media, example in described.contents.items()
    }
    return {"requestBody": {"required": True, "content": content}}


def _parameters(described: Description) -> Iterator[Node]:
    for name, example in described.parameters.items():
        yield {
            "name": name,
            "in": "query",
            "required": name in ("event", "user_id"),
            "schema": {"type": "string"},
            "example": example,
        }


def _pages() -> Mapping[str, Node]:
    """Return what the page scripts of Segment and PostHog ask for beside events."""
    settings = {"type": "object", "required": ["integrations"]}
    taken = {"type": "object", "properties": {"success": {"const": True}}}
    config = {"type": "object", "required": ["token", "supportedCompression"]}
    flags = {"type": "object", "required": ["flags", "supportedCompression"]}
    script = {"description": "Settings", "content": {SCRIPT_MEDIA: {"schema": {"type": "string"}}}}
    return dict(
        (
            _asked(
                "get",
                SETTINGS_PATH,
                "What Segment's page script needs to send its events here",
                success("The settings", settings, {"integrations": {}}),
            ),
            _asked(
                "post",
                METRICS_PATH,
                "Segment's page script's own metrics, which are dropped",
                success("Dropped", taken, {"success": True}),
            ),
            _asked(
                "get",
                CONFIG_PATH,
                "What PostHog's page script needs to send its events here",
                success("Settings", config, {"token": "KEY", "supportedCompression": ["gzip-js"]}),
            ),
            _asked("get", CONFIG_SCRIPT_PATH, "The same as a script", script),
            *(
                _asked(
                    "post",
                    path,
                    "The feature flags of a user of PostHog's clients: there are none",
                    success("None", flags, {"flags": {}, "supportedCompression": ["gzip-js"]}),
                )
                for path in FLAGS_PATHS
            ),
        )
    )


def _asked(method: str, path: str, about: str, answered: Node) -> tuple[str, Node]:
    """Return the path and the Path Item of what a page script asks for without a key."""
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "example": "KEY",
        }
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    operation = {
        "operationId": _OPERATION(path[1:]),
        "summary": about,
        "tags": ["segment" if path in (SETTINGS_PATH, METRICS_PATH) else "posthog"],
        **OPEN,
        **({"parameters": parameters} if parameters else {}),
        "responses": {"200": answered, **failures(())},
    }
    return path, {method: operation}


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


def _of_an_event(never: frozenset[Reason] = frozenset()) -> Iterator[Answer]:
    """Give the answers to a request whose one event is none."""
    for reason, body in _BAD.items():
        if reason in never:
            continue
        rejected = parse_event(body)
        if not isinstance(rejected, Rejected) or rejected.reason is not reason:
            raise ValueError(f"the example of {reason} is answered with {rejected}")
        yield error(reason, rejected.message)


def _of_a_request(bodies: Bodies) -> Iterator[Answer]:
    """Give the answers to a request whatever is in it."""
    yield from bodies.refusals
    yield from flaws(bodies.most_bytes)
    yield from (bodies.over_limit, too_slow(bodies), UNAVAILABLE, OVERLOADED)


def _told(answer: Answer) -> Told:
    start, end = answer
    return told(start["status"], start["headers"], end["body"])


_LINES: Node = {"description": f"Lines of JSON, each one a {Event.__name__}"}
_UNREADABLE = error(Reason.INVALID_JSON, "The body is not valid JSON")
_OPEN_KEY = error(Reason.INVALID_EVENT_ID, "Idempotency-Key is not a quoted string")
_OPERATION = partial(re.compile("[^a-z0-9]+").sub, "_")
_IDEMPOTENCY_KEY: Node = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": f"The event_id of an event whose body has none: 1 to {MAX_EVENT_ID_LENGTH} "
    f"characters, not beginning with {DERIVED_ID_MARK!r}, bare or as a quoted string",
    "schema": {"type": "string"},
    "example": "order-4711",
}
