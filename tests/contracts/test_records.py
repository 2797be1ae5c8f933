import hashlib

import pytest

from contracts.events import Event, Reason, Rejected, parse_event
from contracts.metadata import encode_json, parse_json
from contracts.records import draft_of, parse_record, source_of

BINARY: list[tuple[str, bytes | None]] = [
    ("ce_specversion", b"1.0"),
    ("ce_type", b"play"),
    ("ce_source", b"/player"),
    ("ce_id", b"17"),
    ("ce_subject", "用户".encode()),
    ("ce_time", b"2025-01-18T14:30:00Z"),
]
STRUCTURED: list[tuple[str, bytes | None]] = [
    ("content-type", b"application/cloudevents+json; charset=utf-8")
]


def without(name: str) -> list[tuple[str, bytes | None]]:
    return [header for header in BINARY if header[0] != name]


def accepted(value: bytes | None, headers: list[tuple[str, bytes | None]]) -> Event:
    event = parse_record(value, headers)
    assert isinstance(event, Event), event
    return event


def test_a_plain_body() -> None:
    event = accepted(b'{"event":"play","user_id":"u"}', [("source", b"web"), ("ce_id", b"forged")])
    assert (event.event, event.user_id, event.event_id) == ("play", "u", None)


def test_a_binary_cloudevent() -> None:
    event = accepted(b'{"song":1}', BINARY)
    assert (event.event, event.user_id) == ("play", "用户")
    assert event.event_id == "/player\n17"
    assert event.timestamp == "2025-01-18T14:30:00Z"
    assert bytes(event.metadata) == b'{"song":1}'


@pytest.mark.parametrize("value", [None, b""])
def test_a_binary_cloudevent_without_data(value: bytes | None) -> None:
    assert bytes(accepted(value, without("ce_time")).metadata) == b"null"


@pytest.mark.parametrize(
    ("value", "media", "metadata"),
    [
        (b"[1,2]", b"application/json", {"data": ["1", "2"]}),
        (b'"x"', b"application/vnd.x+json", {"data": "x"}),
        ("tönt".encode(), b"text/plain", {"data": "tönt"}),
    ],
)
def test_data_that_is_no_object_is_put_into_one(
    value: bytes, media: bytes, metadata: object
) -> None:
    event = accepted(value, [*BINARY, ("content-type", media)])
    assert parse_json(bytes(event.metadata)) == metadata


def test_a_structured_cloudevent() -> None:
    value = (
        b'{"specversion":"1.0","type":"stop","source":"s","id":"i","subject":"u",'
        b'"time":"2025-01-18T14:30:00Z","data":{"a":1.10},"extension":true}'
    )
    event = accepted(value, STRUCTURED)
    assert (event.event, event.user_id, event.event_id) == ("stop", "u", "s\ni")
    assert bytes(event.metadata) == b'{"a":1.10}'


def test_long_and_marked_ids_become_their_hash() -> None:
    long = [*without("ce_id"), ("ce_id", b"x" * 128)]
    marked = [*without("ce_source"), ("ce_source", b"~s")]
    assert accepted(b"{}", long).event_id == hashlib.sha256(b"/player\n" + b"x" * 128).hexdigest()
    assert accepted(b"{}", marked).event_id == hashlib.sha256(b"~s\n17").hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        *(without(name) for name in ("ce_type", "ce_source", "ce_id", "ce_subject")),
        [*without("ce_id"), ("ce_id", b"")],
        [*without("ce_specversion"), ("ce_specversion", b"0.3")],
        [*without("ce_type"), ("ce_type", b"\xff")],
    ],
)
def test_an_incomplete_cloudevent_is_rejected(headers: list[tuple[str, bytes | None]]) -> None:
    rejected = parse_record(b"{}", headers)
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.INVALID_CLOUDEVENT


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, [], Reason.NO_VALUE),
        (None, STRUCTURED, Reason.NO_VALUE),
        (b"\x00\xff", [], Reason.INVALID_JSON),
        (b"not json", BINARY, Reason.INVALID_JSON),
        (b"\xff", [*BINARY, ("content-type", b"application/octet-stream")], Reason.INVALID_JSON),
        (b"[]", STRUCTURED, Reason.INVALID_JSON),
        (
            b"[]",
            [("content-type", b"application/cloudevents-batch+json")],
            Reason.INVALID_CLOUDEVENT,
        ),
        (b"{}" + b" " * 65536, BINARY, Reason.TOO_LARGE),
        (b"{}", [*without("ce_type"), ("ce_type", b"date")], Reason.INVALID_EVENT),
        (b"{}", [*without("ce_time"), ("ce_time", b"yesterday")], Reason.INVALID_TIMESTAMP),
    ],
)
def test_what_is_rejected(
    value: bytes | None, headers: list[tuple[str, bytes | None]], reason: Reason
) -> None:
    rejected = parse_record(value, headers)
    assert isinstance(rejected, Rejected)
    assert rejected.reason is reason


def test_source_is_bounded_and_never_fails() -> None:
    assert source_of([("source", b"web")]) == "web"
    assert source_of([("other", b"web")]) == ""
    assert source_of([("source", None)]) == ""
    assert source_of([("source", b"\xff" * 1000)]) == "\ufffd" * 256


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b'{"event":"play","user_id":"u","metadata":{"n":1.50}}', []),
        (b'{"event":"play","user_id":"u\\ud800","event_id":"e"}', [("source", b"web")]),
        (b'{"song":1}', BINARY),
        (b"", BINARY),
        (b"text", [*BINARY, ("content-type", b"text/plain")]),
        (
            b'{"specversion":"1.0","type":"play","source":"s","id":"1","subject":"u","data":[1]}',
            STRUCTURED,
        ),
        (b"{}", [*without("ce_id"), ("ce_id", b"x" * 200)]),
    ],
)
def test_the_draft_of_an_event_is_that_event(
    value: bytes, headers: list[tuple[str, bytes | None]]
) -> None:
    event, draft = parse_record(value, headers), draft_of(value, headers)
    assert isinstance(event, Event)
    assert draft is not None
    again = parse_event(encode_json(draft))
    assert isinstance(again, Event)
    assert again.metadata == event.metadata
    for name in ("event", "user_id", "timestamp", "event_id"):
        assert getattr(again, name) == getattr(event, name)


def test_the_draft_of_what_is_no_event_has_what_can_be_read() -> None:
    assert draft_of(b'{"event":7,"x":[]}', []) == {"event": "7", "x": []}
    assert draft_of(b'{"song":1}', without("ce_subject")) == {
        "event": "play",
        "user_id": None,
        "timestamp": "2025-01-18T14:30:00Z",
        "metadata": {"song": "1"},
        "event_id": "/player\n17",
    }
    assert (draft_of(b"{}", without("ce_id")) or {})["event_id"] is None


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, []),
        (b"[]", []),
        (b"\xff", []),
        (b"nonsense", BINARY),
        (b"{}", [*BINARY, ("ce_x", b"\xff")]),
        (b"[]", STRUCTURED),
        (b"{}", [("content-type", b"application/cloudevents-batch+json")]),
    ],
)
def test_what_cannot_be_read_has_no_draft(
    value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    assert draft_of(value, headers) is None
