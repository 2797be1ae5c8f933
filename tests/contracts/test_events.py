import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import (
    MAX_EVENT_BYTES,
    Event,
    Reason,
    Rejected,
    Repaired,
    _parse_carefully,
    encode_event,
    parse_event,
)
from contracts.metadata import encode_json, parse_json

GOOD = {
    "least": b'{"event":"play","user_id":"u"}',
    "unknown fields": b'{"event":"play","user_id":"u","x":[1,{"y":null}]}',
    "nulls are absent": b'{"event":"p","user_id":"u","timestamp":null,"metadata":null}',
    "200 characters": b'{"event":"' + b"x" * 200 + b'","user_id":"u"}',
    "200 emoji": ('{"event":"' + "😀" * 200 + '","user_id":"u"}').encode(),
    "256 characters": b'{"event":"p","user_id":"' + b"x" * 256 + b'"}',
    "128 characters": b'{"event":"p","user_id":"u","event_id":"' + b"x" * 128 + b'"}',
    "NUL in ids": b'{"event":"p","user_id":"\\u0000","event_id":"a\\u0000b"}',
    "line ends in ids": b'{"event":"p","user_id":"u","event_id":"a\\r\\nb"}',
    "a user named p": b'{"event":"play","user_id":"p"}',
    "nine digits": b'{"event":"p","user_id":"u","timestamp":"2025-01-18T14:30:00.123456789Z"}',
    "in 2200": b'{"event":"p","user_id":"u","timestamp":"2200-01-01T00:00:00Z"}',
    "depth 64": b'{"event":"p","user_id":"u","metadata":'
    + b'{"a":' * 63
    + b"{}"
    + b"}" * 63
    + b"}",
    "metadata beyond the limit is admitted": b'{"event":"p","user_id":"u","metadata":{"a":"'
    + b"x" * 9000
    + b'"}}',
    "white space": b' \n{ "event" : "p" , "user_id" : "u" }\t\r\n',
}
MENDED = {
    "1e400": b'{"event":"p","user_id":"u","metadata":{"a":1e400},"x":"\\ud800"}',
    "surrogate in metadata": b'{"event":"p","user_id":"u","metadata":{"a":"\\ud800"}}',
    "surrogate in a name": b'{"event":"p\\udc00","user_id":"u"}',
    "surrogate in user_id": b'{"event":"p","user_id":"\\ud800"}',
    "surrogate in event_id": b'{"event":"p","user_id":"u","event_id":"\\ud800"}',
}
BAD: dict[str, tuple[bytes, Reason, str]] = {
    "empty": (b"", Reason.INVALID_JSON, "JSON"),
    "broken": (b'{"event":"play"', Reason.INVALID_JSON, "JSON"),
    "array": (b"[]", Reason.INVALID_JSON, "object"),
    "number": (b"1", Reason.INVALID_JSON, "object"),
    "two": (b"{}{}", Reason.INVALID_JSON, "JSON"),
    "NaN": (b'{"event":"p","user_id":"u","metadata":{"a":NaN}}', Reason.INVALID_JSON, "NaN"),
    "not UTF-8": (b'{"event":"p","user_id":"\xff"}', Reason.INVALID_JSON, "UTF-8"),
    "not UTF-8 in metadata": (
        b'{"event":"p","user_id":"u","metadata":{"a":"\xff"}}', Reason.INVALID_JSON, "UTF-8",
    ),
    "a surrogate in UTF-8": (
        b'{"event":"p","user_id":"u","x":"\xed\xa0\x80"}', Reason.INVALID_JSON, "UTF-8",
    ),
    "no event": (b'{"user_id":"u"}', Reason.INVALID_EVENT, "event is required"),
    "null event": (b'{"event":null,"user_id":"u"}', Reason.INVALID_EVENT, "event is required"),
    "empty event": (b'{"event":"","user_id":"u"}', Reason.INVALID_EVENT, "1 to 200"),
    "201 characters": (
        b'{"event":"' + b"x" * 201 + b'","user_id":"u"}', Reason.INVALID_EVENT, "201",
    ),
    "event of a number": (b'{"event":1,"user_id":"u"}', Reason.INVALID_EVENT, "string"),
    "date": (b'{"event":"date","user_id":"u"}', Reason.INVALID_EVENT, "reserved"),
    "no user": (b'{"event":"p"}', Reason.INVALID_USER_ID, "user_id is required"),
    "user of a number": (b'{"event":"p","user_id":7}', Reason.INVALID_USER_ID, "string"),
    "257": (b'{"event":"p","user_id":"' + b"x" * 257 + b'"}', Reason.INVALID_USER_ID, "257"),
    "timestamp of a number": (
        b'{"event":"p","user_id":"u","timestamp":1}', Reason.INVALID_TIMESTAMP, "string",
    ),
    "no offset": (
        b'{"event":"p","user_id":"u","timestamp":"2025-01-18T14:30:00"}',
        Reason.INVALID_TIMESTAMP, "RFC 3339",
    ),
    "1969": (
        b'{"event":"p","user_id":"u","timestamp":"1969-12-31T23:59:59Z"}',
        Reason.INVALID_TIMESTAMP, "1970",
    ),
    "metadata of a list": (
        b'{"event":"p","user_id":"u","metadata":[]}', Reason.INVALID_METADATA, "object",
    ),
    "metadata of a text": (
        b'{"event":"p","user_id":"u","metadata":"x"}', Reason.INVALID_METADATA, "object",
    ),
    "depth 65": (
        b'{"event":"p","user_id":"u","metadata":' + b'{"a":' * 64 + b"{}" + b"}" * 64 + b"}",
        Reason.INVALID_METADATA, "65 levels",
    ),
    "depth 10,000": (
        b'{"event":"p","user_id":"u","metadata":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
        Reason.INVALID_JSON, "deeply",
    ),
    "empty event_id": (
        b'{"event":"p","user_id":"u","event_id":""}', Reason.INVALID_EVENT_ID, "1 to 128",
    ),
    "129": (
        b'{"event":"p","user_id":"u","event_id":"' + b"x" * 129 + b'"}',
        Reason.INVALID_EVENT_ID, "129",
    ),
    "event_id like ours": (
        b'{"event":"p","user_id":"u","event_id":"~x"}', Reason.INVALID_EVENT_ID, "~",
    ),
    "10 MB": (b" " * 10_000_000, Reason.TOO_LARGE, str(MAX_EVENT_BYTES)),
}  # fmt: skip


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_what_is_an_event_goes_on_as_it_came(body: bytes) -> None:
    event = parse_event(body)
    assert type(event) is Event, event
    assert same(_parse_carefully(body), event), "both readings agree"


@pytest.mark.parametrize("body", MENDED.values(), ids=MENDED)
def test_what_is_mended_says_so_and_is_an_event_then(body: bytes) -> None:
    event = parse_event(body)
    assert type(event) is Repaired, event
    again = parse_event(encode_event(event))
    assert type(again) is Event
    assert same(event, again)


@pytest.mark.parametrize(("body", "reason", "word"), BAD.values(), ids=BAD)
def test_what_is_not_says_why(body: bytes, reason: Reason, word: str) -> None:
    rejected = parse_event(body)
    assert isinstance(rejected, Rejected)
    assert rejected.reason is reason
    assert word in rejected.message


def same(left: Event | Rejected, right: Event | Rejected) -> bool:
    assert isinstance(left, Event)
    assert isinstance(right, Event)
    return fields(left) == fields(right)


def fields(event: Event) -> tuple[Any, ...]:
    metadata = encode_json(parse_json(bytes(event.metadata)))
    return (event.event, event.user_id, event.timestamp, event.event_id, metadata)


names = st.text(max_size=300) | st.integers() | st.none() | st.just("date")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "event": names,
            "user_id": names,
            "event_id": names | st.just("~a"),
            "timestamp": names | st.sampled_from(["2025-01-18T14:30:00Z", "2025-01-18"]),
            "metadata": values,
            "other": values,
        },
    ),
    st.booleans(),
)
def test_the_fast_and_the_careful_reading_agree(sent: dict[str, Any], escaped: bool) -> None:
    try:
        body = json.dumps(sent, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        body = json.dumps(sent).encode()
    fast, careful = parse_event(body), _parse_carefully(body)
    if isinstance(careful, Rejected):
        assert fast == careful
    else:
        assert same(fast, careful)


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(body: bytes) -> None:
    assert isinstance(parse_event(body), Event | Rejected)


@pytest.mark.parametrize(("depth", "kind"), [(127, Event), (128, Rejected), (930, Rejected)])
def test_how_deep_a_body_may_be_does_not_depend_on_who_asks(depth: int, kind: type[Any]) -> None:
    body = b'{"event":"p","user_id":"u","x":' + b"[" * depth + b"]" * depth + b"}"

    def ask(below: int) -> Event | Rejected:
        return ask(below - 1) if below else parse_event(body)

    # Ingest and the sessionizer stand at different depths of the stack.
    assert [type(ask(below)) for below in (0, 60, 200)] == [kind] * 3


def test_an_id_at_the_end_is_not_counted_in_the_size() -> None:
    full = b'{"event":"p","user_id":"u","x":"' + b"x" * (MAX_EVENT_BYTES - 34) + b'"}'
    assert len(full) == MAX_EVENT_BYTES
    for event_id in (b"0198c0de-0000-7000-8000-000000000000", b"\\u0000" * 128, b'a\\"b'):
        added = full[:-1] + b',"event_id":"' + event_id + b'"}'
        assert isinstance(parse_event(added), Event)
        assert isinstance(parse_event(added[:-1] + b" }"), Rejected)
    assert isinstance(parse_event(full + b" "), Rejected)
