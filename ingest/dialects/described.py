"""The dialects for people: what each route of the table is for, its body and its answer.

In: an entry of the table. Out: what OpenAPI says of it: schemas, and examples that are taken.
Never: a limit that the code does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from contracts.events import Event, Reason
from ingest.dialects import segment
from ingest.dialects.cloudevents import BATCH, STRUCTURED
from ingest.dialects.dialect import Refused
from ingest.dialects.pixel import FIELDS
from ingest.dialects.table import MAX_BATCH_EVENTS, Entry

Node = dict[str, Any]

_JSON = "application/json"
_PLAY: Node = {"event": "play", "user_id": "ada", "metadata": {"song_id": "s-17"}}
_STOP: Node = {"event": "stop", "user_id": "ada"}
_MESSAGE: Node = {
    "type": "track",
    "event": "play",
    "userId": "ada",
    "properties": {"song_id": "s-17"},
    "messageId": "0198c0de-1",
}
_CAPTURED: Node = {
    "event": "play",
    "distinct_id": "ada",
    "properties": {"song_id": "s-17"},
    "uuid": "0198c0de-1c3f-7000-8000-000000000001",
}
_CLOUDEVENT: Node = {
    "specversion": "1.0",
    "id": "1",
    "source": "/player",
    "type": "play",
    "subject": "ada",
    "data": {"song_id": "s-17"},
}
_REFUSED: Node = {
    "type": "array",
    "description": "The events that were none, by their place in the batch, counted from 0",
    "items": {
        "type": "object",
        "required": [each.name for each in msgspec.structs.fields(Refused)],
        "properties": {
            "index": {"type": "integer", "minimum": 0},
            "code": {"enum": list(Reason)},
            "message": {"type": "string", "minLength": 1},
        },
    },
}
_TAKEN: Node = {
    "type": "object",
    "required": ["status", "accepted", "rejected"],
    "properties": {
        "status": {"const": "success"},
        "accepted": {"type": "integer", "minimum": 0, "maximum": MAX_BATCH_EVENTS},
        "rejected": _REFUSED,
    },
}


@dataclass(frozen=True, slots=True)
class Description:
    """What OpenAPI says of a route.

    Attributes:
        about: a sentence or two.
        contents: an example of a body by its media type.
        schema: of a body.
        answer: the schema of the answer; empty where it is no JSON.
        parameters: by name, an example of each.
        is_about_one: whether a request may be refused because its one event is none.
        never: what cannot be wrong with that event.
    """

    about: str
    contents: dict[str, Any] = field(default_factory=dict)
    schema: Node = field(default_factory=dict)
    answer: Node = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    is_about_one: bool = True
    never: frozenset[Reason] = frozenset()


def describe(entry: Entry) -> Description:
    """Return what is said of a route."""
    match entry.dialect:
        case "segment":
            return _of_segment(entry.path)
        case "posthog":
            return _POSTHOG
        case "cloudevents":
            return _CLOUDEVENTS
        case _:
            return _PIXEL if entry.method == "GET" else _BATCH


def _of_segment(path: str) -> Description:
    answer = _succeeded("success", True)
    if path in segment.BATCHES:
        return Description(
            "A batch of calls of Segment's tracking API, as its SDKs send it",
            {_JSON: {"batch": [_MESSAGE]}},
            _with_batch("The calls"),
            answer,
            is_about_one=False,
        )
    kind = segment.TYPES[path].decode()
    example = {name: value for name, value in _MESSAGE.items() if name != "type"}
    return Description(
        f"A call of the type {kind} of Segment's tracking API",
        {_JSON: example},
        {"type": "object", "properties": {"userId": {"type": "string"}}},
        answer,
        # The path names the event, unless it is for events of any name.
        never=frozenset() if kind == "track" else frozenset((Reason.INVALID_EVENT,)),
    )


def _succeeded(name: str, value: object) -> Node:
    return {
        "type": "object",
        "required": [name],
        "properties": {name: {"const": value}, "rejected": _REFUSED},
    }


def _with_batch(items: str) -> Node:
    return {
        "type": "object",
        "properties": {
            "batch": {
                "type": ["array", "null"],
                "description": f"{items}, at most {MAX_BATCH_EVENTS}",
            },
            "sentAt": {"description": "When it was sent, by the client's clock, if it is a time"},
        },
    }


_EVENTS: Node = {
    "type": "array",
    # Whatever is none is reported, so the items are no condition for the whole.
    "description": f"At most {MAX_BATCH_EVENTS}, each one a {Event.__name__}",
}
_BATCH = Description(
    "Events as a JSON array, as an object with a `batch`, or as lines of JSON, which are read as "
    "they come. The good ones are taken, the others reported and kept as rejected",
    {
        _JSON: [_PLAY, _STOP],
        "application/x-ndjson": f"{msgspec.json.encode(_PLAY).decode()}\n",
    },
    {"anyOf": [_EVENTS, {**_with_batch("The events"), "required": ["batch"]}]},
    _TAKEN,
    is_about_one=False,
)
_PIXEL = Description(
    "An event in a URL, for what can only load an image; metadata as `metadata.NAME=TEXT` too",
    parameters={
        **dict.fromkeys(FIELDS, ""),
        "event": "play",
        "user_id": "ada",
        "timestamp": "2025-01-18T14:00:00Z",
        "event_id": "0198c0de-1",
        "metadata": '{"song_id":"s-17"}',
    },
)
_POSTHOG = Description(
    "PostHog's capture API, as its SDKs send it: an event, an array, or an object with a `batch`",
    {_JSON: {"api_key": "KEY", "batch": [_CAPTURED]}},
    {"type": ["object", "array"]},
    _succeeded("status", 1),
)
_CLOUDEVENTS = Description(
    "CloudEvents 1.0: one in the body, a batch of them, or one in the headers `ce-…`; `subject` is "
    "the user_id",
    {STRUCTURED: _CLOUDEVENT, BATCH: [_CLOUDEVENT]},
    {"type": ["object", "array"]},
    _TAKEN,
)
