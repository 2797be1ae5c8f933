"""An event as each dialect says it.

In: the fields of a body of POST /track, right or wrong. Out: what a client of the dialect sends for
it. Never: a judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fields = Mapping[str, Any]
_SEGMENT = {
    "event": "event",
    "user_id": "userId",
    "timestamp": "timestamp",
    "metadata": "properties",
    "event_id": "messageId",
}
_POSTHOG = {
    "event": "event",
    "user_id": "distinct_id",
    "timestamp": "timestamp",
    "metadata": "properties",
    "event_id": "uuid",
}
_CLOUDEVENTS = {"event": "type", "user_id": "subject", "timestamp": "time", "metadata": "data"}


def to_segment(fields: Fields) -> dict[str, Any]:
    return {"type": "track", **_renamed(fields, _SEGMENT)}


def to_posthog(fields: Fields) -> dict[str, Any]:
    return _renamed(fields, _POSTHOG)


def to_cloudevent(fields: Fields) -> dict[str, Any]:
    named = {"specversion": "1.0", "id": fields.get("event_id", "1"), "source": "/test"}
    return {**named, **_renamed(fields, _CLOUDEVENTS)}


SHAPES: Mapping[str, Callable[[Fields], dict[str, Any]]] = {
    "segment": to_segment,
    "posthog": to_posthog,
    "cloudevents": to_cloudevent,
    "track": dict,
}


def _renamed(fields: Fields, names: Mapping[str, str]) -> dict[str, Any]:
    return {names[name]: value for name, value in fields.items() if name in names}
