"""A record of `track.events` as an event: the JSON body of POST /track, or a CloudEvent 1.0.

In: the value and the headers of a record. Out: an `Event`, or a `Rejected`. Never: trust in a
header beyond what it says about the event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from contracts.events import (
    DERIVED_ID_MARK,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_LENGTH,
    Event,
    Reason,
    Rejected,
    event_of,
    parse_event,
    too_large,
)
from contracts.metadata import JSONError, parse_json

Headers = Iterable[tuple[str, bytes | None]]
_CloudEvent = tuple[dict[str, object], object]  # its attributes and its data, not checked yet

SOURCE_HEADER = "source"
MAX_SOURCE_LENGTH = 256
_STRUCTURED = "application/cloudevents"
_BATCH = "application/cloudevents-batch"


def parse_record(value: bytes | None, headers: Headers) -> Event | Rejected:
    """Return the event in a record, or what is wrong with it.

    A `content-type` of `application/cloudevents+json` makes it a structured CloudEvent, a header
    `ce_specversion` a binary one; everything else is a body of POST /track.
    """
    if headers:
        cloudevent = _read_cloudevent(value, headers)
        if type(cloudevent) is Rejected:
            return cloudevent
        if cloudevent is not None:
            return _event_of_cloudevent(*cloudevent)
    if value is None:
        return Rejected(Reason.NO_VALUE, "The record has no value")
    return parse_event(value)


def draft_of(value: bytes | None, headers: Headers) -> dict[str, object] | None:
    """Return the fields that a record has for an event, right or wrong; None: not to be read.

    Values are as `contracts.metadata.parse_json` gives them. Of a CloudEvent they are the fields of
    POST /track that its attributes stand for.
    """
    cloudevent = _read_cloudevent(value, headers)
    if cloudevent is not None:
        return None if isinstance(cloudevent, Rejected) else _fields_of_cloudevent(*cloudevent)
    try:
        fields = parse_json(value or b"")
    except JSONError:
        return None
    return fields if isinstance(fields, dict) else None


def source_of(headers: Headers) -> str:
    """Return what the header `source` says, at most 256 characters, or an empty text."""
    for name, content in headers:
        if name == SOURCE_HEADER and content is not None:
            return content.decode("utf-8", "replace")[:MAX_SOURCE_LENGTH]
    return ""


def _read_cloudevent(value: bytes | None, headers: Headers) -> _CloudEvent | Rejected | None:
    """Return the CloudEvent in a record, why it cannot be read, or None where there is none."""
    named = {name.lower(): content for name, content in headers if content is not None}
    media = named.get("content-type", b"").decode("latin-1").strip().lower()
    if media.startswith(_STRUCTURED):
        return _read_structured(value, media)
    if "ce_specversion" in named:
        return _read_binary(value, named, media)
    return None


def _read_structured(value: bytes | None, media: str) -> _CloudEvent | Rejected:
    if value is None:
        return Rejected(Reason.NO_VALUE, "The record has no value")
    if media.startswith(_BATCH):
        return _invalid("a batch is not taken as one record; send one CloudEvent a record")
    if len(value) > MAX_EVENT_BYTES:
        return too_large(len(value))
    try:
        attributes = parse_json(value)
    except JSONError as error:
        return Rejected(Reason.INVALID_JSON, f"The CloudEvent {error}")
    if not isinstance(attributes, dict):
        return Rejected(Reason.INVALID_JSON, "The CloudEvent must be a JSON object")
    data = attributes.get("data")
    if data is None and attributes.get("data_base64") is not None:
        data = attributes["data_base64"]
    return attributes, data


def _read_binary(
    value: bytes | None, named: dict[str, bytes], media: str
) -> _CloudEvent | Rejected:
    if value is not None and len(value) > MAX_EVENT_BYTES:
        return too_large(len(value))
    attributes: dict[str, object] = {}
    for name, content in named.items():
        if name.startswith("ce_"):
            try:
                attributes[name[3:]] = content.decode()
            except UnicodeDecodeError:
                return _invalid(f"the header {name[:40]!r} is not UTF-8")
    try:
        data = _data_of(value, media)
    except JSONError as error:
        return Rejected(Reason.INVALID_JSON, f"The CloudEvent's data {error}")
    return attributes, data


def _data_of(value: bytes | None, media: str) -> object:
    if not value:
        return None
    if not media or media.split(";", maxsplit=1)[0].rstrip().endswith(("/json", "+json")):
        return parse_json(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise JSONError("is neither JSON nor UTF-8 text") from error


def _event_of_cloudevent(attributes: dict[str, object], data: object) -> Event | Rejected:
    if attributes.get("specversion") != "1.0":
        return _invalid("specversion must be '1.0'")
    for name in ("id", "source", "type"):
        content = attributes.get(name)
        if type(content) is not str or not content:
            return _invalid(f"{name} must be a string that is not empty")
    if attributes.get("subject") is None:
        return _invalid("subject is required: it is the user_id")
    return event_of(_fields_of_cloudevent(attributes, data))


def _fields_of_cloudevent(attributes: dict[str, object], data: object) -> dict[str, object]:
    """Return the fields of POST /track that the attributes stand for; one not there is None."""
    source, identifier = attributes.get("source"), attributes.get("id")
    named = type(source) is str and type(identifier) is str and source and identifier
    return {
        "event": attributes.get("type"),
        "user_id": attributes.get("subject"),
        "timestamp": attributes.get("time"),
        "metadata": data if data is None or isinstance(data, dict) else {"data": data},
        "event_id": _event_id(str(source), str(identifier)) if named else None,
    }


def _event_id(source: str, identifier: str) -> str:
    """Return source, a line feed and id; its SHA-256 where that cannot be an event id."""
    event_id = f"{source}\n{identifier}"
    if len(event_id) > MAX_EVENT_ID_LENGTH or event_id.startswith(DERIVED_ID_MARK):
        return hashlib.sha256(event_id.encode()).hexdigest()
    return event_id


def _invalid(why: str) -> Rejected:
    return Rejected(Reason.INVALID_CLOUDEVENT, f"The CloudEvent is not valid: {why}")
