"""An event as it is sent, and the one validation of it, for ingest and for the sessionizer.

In: the bytes of a body. Out: an `Event`, or a `Rejected` that names the field. Never: a clock, a
clamping or truncation (that is admission's), a look at who sent it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, final

import msgspec
from msgspec import Meta, Raw

from contracts.metadata import (
    MAX_JSON_DEPTH,
    MAX_METADATA_DEPTH,
    JSONError,
    Number,
    depth_of,
    encode_json,
    may_be_deep,
    parse_json,
)
from contracts.timestamps import MAX_TIMESTAMP_LENGTH, parse_timestamp

MAX_EVENT_BYTES = 64 * 1024
MAX_NAME_LENGTH = 200
MAX_USER_ID_LENGTH = 256
MAX_EVENT_ID_LENGTH = 128
RESERVED_NAME = "date"  # it labels periods in the answers of /metrics
DERIVED_ID_MARK = "~"  # ids that are derived from a place in the log begin with it
NULL = b"null"

# What ingest adds to a body without an id is not counted in the size of an event, so that a body
# within the limit is never too large once it is logged.
_ADDED_ID = re.compile(rb',"event_id":"(?:[^"\\]|\\.)*"\}\Z').search
_MOST_ADDED_BYTES = 1024


class Reason(StrEnum):
    """Why a body or a record is not an event; the `code` of an HTTP error."""

    INVALID_JSON = "invalid_json"
    INVALID_EVENT = "invalid_event"
    INVALID_USER_ID = "invalid_user_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    INVALID_METADATA = "invalid_metadata"
    INVALID_EVENT_ID = "invalid_event_id"
    INVALID_CLOUDEVENT = "invalid_cloudevent"
    NO_VALUE = "no_value"
    TOO_LARGE = "too_large"
    REFUSED_BY_STORAGE = "refused_by_storage"


@final
class Rejected(msgspec.Struct, frozen=True):
    """What is not an event: the reason, and a sentence that names the field."""

    reason: Reason
    message: str


class Event(msgspec.Struct, gc=False, omit_defaults=True):
    """An event as it was sent: `metadata` is `null` or the JSON text of an object."""

    event: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
    user_id: Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID_LENGTH)]
    timestamp: Annotated[str, Meta(max_length=MAX_TIMESTAMP_LENGTH)] | None = None
    metadata: Raw = Raw(NULL)
    event_id: Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID_LENGTH)] | None = None


class Repaired(Event, gc=False, omit_defaults=True):
    """An event whose body had to be mended: what goes on is `encode_event` of it, not the body."""


# What is too deep and lies beside the metadata begins and ends so often.
_SHALLOW_BYTES = 2 * MAX_JSON_DEPTH

_decode = msgspec.json.Decoder(Event).decode
encode_event = msgspec.json.Encoder().encode


def parse_event(body: bytes) -> Event | Rejected:
    """Return the event in a body, or what is wrong with it.

    msgspec reads what is right in a third of a microsecond; whatever it or a glance refuses is read
    again by `_parse_carefully`, which mends what can be mended and names what cannot.
    """
    size = len(body)
    if size > MAX_EVENT_BYTES and is_too_large(body):
        return too_large(size)
    try:
        event = _decode(body)
        if not body.isascii():
            body.decode()  # msgspec does not look at the UTF-8 of what it skips
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse_carefully(body)
    metadata, event_id, timestamp = bytes(event.metadata), event.event_id, event.timestamp
    if (
        event.event == RESERVED_NAME
        or (metadata[0] != 0x7B and metadata != NULL)
        or (event_id is not None and event_id[0] == DERIVED_ID_MARK)
        or (timestamp is not None and parse_timestamp(timestamp) is None)
        or (len(metadata) > MAX_METADATA_DEPTH and _may_be_deep(metadata))
        or (size > _SHALLOW_BYTES and size - len(metadata) > _SHALLOW_BYTES and may_be_deep(body))
    ):
        return _parse_carefully(body)
    return event


def event_of(fields: dict[str, object]) -> Repaired | Rejected:
    """Return the event that has these fields (values as `parse_json` gives them).

    Surrogates are mended already; unknown fields are ignored.
    """
    name, user_id = fields.get("event"), fields.get("user_id")
    timestamp, event_id = fields.get("timestamp"), fields.get("event_id")
    metadata = fields.get("metadata")
    rejected = (
        _check_text("event", name, MAX_NAME_LENGTH, Reason.INVALID_EVENT)
        or _check_name(name)
        or _check_text("user_id", user_id, MAX_USER_ID_LENGTH, Reason.INVALID_USER_ID)
        or (_check_timestamp(timestamp) if timestamp is not None else None)
        or (_check_metadata(metadata) if metadata is not None else None)
        or (check_event_id(event_id) if event_id is not None else None)
    )
    if rejected is not None:
        return rejected
    raw: Any = Raw(NULL if metadata is None else encode_json(metadata))
    text: Any = (name, user_id, timestamp, event_id)
    return Repaired(text[0], text[1], text[2], raw, text[3])


def check_event_id(event_id: object) -> Rejected | None:
    """Return what is wrong with a client's event id, or None."""
    rejected = _check_text("event_id", event_id, MAX_EVENT_ID_LENGTH, Reason.INVALID_EVENT_ID)
    if rejected is None and str(event_id).startswith(DERIVED_ID_MARK):
        return Rejected(Reason.INVALID_EVENT_ID, "event_id must not begin with '~'")
    return rejected


def is_too_large(body: bytes) -> bool:
    """Tell whether a body has more than 64 KiB, an id that ingest has added at its end not counted.

    >>> is_too_large(b"x" * 65_536), is_too_large(b"x" * 65_537)
    (False, True)
    """
    over = len(body) - MAX_EVENT_BYTES
    if over <= 0:
        return False
    added = _ADDED_ID(body[-_MOST_ADDED_BYTES:])
    return added is None or over >= len(added[0])


def too_large(size: int) -> Rejected:
    """Return the rejection of a body of this many bytes."""
    return Rejected(
        Reason.TOO_LARGE, f"The event has {size} bytes; at most {MAX_EVENT_BYTES} are taken"
    )


def _parse_carefully(body: bytes) -> Repaired | Rejected:
    try:
        value = parse_json(body)
    except JSONError as error:
        return Rejected(Reason.INVALID_JSON, f"The body {error}")
    if not isinstance(value, dict):
        return Rejected(Reason.INVALID_JSON, "The body must be a JSON object")
    return event_of(value)


def _may_be_deep(metadata: bytes) -> bool:
    return metadata.count(b"{") + metadata.count(b"[") > MAX_METADATA_DEPTH


def _check_text(field: str, value: object, limit: int, reason: Reason) -> Rejected | None:
    if value is None:
        return Rejected(reason, f"{field} is required")
    if not isinstance(value, str) or isinstance(value, Number):
        return Rejected(reason, f"{field} must be a string")
    if not 1 <= len(value) <= limit:
        return Rejected(reason, f"{field} must have 1 to {limit} characters, not {len(value)}")
    return None


def _check_name(name: object) -> Rejected | None:
    if name == RESERVED_NAME:
        return Rejected(Reason.INVALID_EVENT, "event must not be 'date': the name is reserved")
    return None


def _check_timestamp(timestamp: object) -> Rejected | None:
    if not isinstance(timestamp, str) or isinstance(timestamp, Number):
        return Rejected(Reason.INVALID_TIMESTAMP, "timestamp must be a string")
    if parse_timestamp(timestamp) is None:
        return Rejected(
            Reason.INVALID_TIMESTAMP,
            "timestamp must be an RFC 3339 date-time with Z or an offset, from 1970 on, "
            "for example 2025-01-18T14:30:00Z",
        )
    return None


def _check_metadata(metadata: object) -> Rejected | None:
    if not isinstance(metadata, dict):
        return Rejected(Reason.INVALID_METADATA, "metadata must be an object")
    depth = depth_of(metadata)
    if depth > MAX_METADATA_DEPTH:
        return Rejected(
            Reason.INVALID_METADATA,
            f"metadata is nested {depth} levels deep; at most {MAX_METADATA_DEPTH} are taken",
        )
    return None
