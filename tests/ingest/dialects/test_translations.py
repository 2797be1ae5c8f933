"""The translations by themselves: what they say is what was meant, and wrong things stay wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import Event, Reason, Rejected, parse_event
from contracts.records import parse_record
from ingest.dialects import segment
from ingest.dialects.batches import confirm_batch, translate_batch
from ingest.dialects.cloudevents import translate_cloudevents
from ingest.dialects.dialect import Refused, Said, Sent
from ingest.dialects.lines import MOST_LINE_BYTES, Lines
from ingest.dialects.pixel import translate_pixel
from ingest.dialects.posthog import confirm_capture, translate_capture
from ingest.dialects.splitting import MOST_COMMAS, MOST_READ_AGAIN_BYTES, with_more
from tests.ingest.dialects.shapes import Fields, to_cloudevent, to_posthog, to_segment

NOW_MS = 1_769_000_000_000  # 2026-01-21T12:53:20Z
NOW = "2026-01-21T12:53:20Z"

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
fields_right_or_wrong = st.fixed_dictionaries(
    {},
    optional={
        "event": st.text(max_size=5) | anything,
        "user_id": st.text(max_size=5) | anything,
        "timestamp": st.sampled_from(["2025-01-18T14:00:00Z", "yesterday"]) | anything,
        "metadata": st.dictionaries(st.text(max_size=3), anything, max_size=3) | anything,
        "event_id": st.text(max_size=5) | anything,
    },
)


def sent(
    body: object,
    path: str = "/",
    query: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Sent:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    return Sent(path, query, named, raw, NOW_MS)


def values(said: Said | Rejected) -> list[Any]:
    assert isinstance(said, Said), said
    return [json.loads(each) for each in said.values]


def judged(fields: Fields) -> Event | Rejected:
    """Return what POST /track makes of these fields."""
    return parse_event(json.dumps(fields).encode())


def same(found: Event | Rejected, wanted: Event | Rejected) -> None:
    """Require the same event, or the same reason and words."""
    if isinstance(wanted, Rejected) or isinstance(found, Rejected):
        assert found == wanted
        return
    for name in ("event", "user_id", "timestamp", "event_id"):
        assert getattr(found, name) == getattr(wanted, name)
    assert json.loads(bytes(found.metadata)) == json.loads(bytes(wanted.metadata))


# --- every dialect -----------------------------------------------------------------------------


@given(st.lists(fields_right_or_wrong, max_size=3))
def test_a_batch_says_what_single_events_would_say(batch: list[dict[str, Any]]) -> None:
    for translate, body in (
        (translate_batch, batch),
        (translate_batch, {"batch": batch}),
        (translate_capture, {"batch": [to_posthog(each) for each in batch]}),
    ):
        said = translate(sent(body))
        assert isinstance(said, Said)
        assert not said.is_single
        for value, fields in zip(said.values, batch, strict=True):
            same(parse_event(value), judged(fields))


@given(fields_right_or_wrong)
def test_segment_says_what_a_single_event_would_say(fields: dict[str, Any]) -> None:
    said = segment.translate_messages(sent({"batch": [to_segment(fields)]}))
    assert isinstance(said, Said)
    wanted = dict(fields)
    if wanted.get("user_id") == "":
        wanted["user_id"] = None  # an empty one is none, as for an anonymous user
    same(parse_event(said.values[0]), judged(wanted))


@given(fields_right_or_wrong)
def test_a_cloudevent_is_read_as_one_of_kafka(fields: dict[str, Any]) -> None:
    cloudevent = to_cloudevent(fields)
    said = translate_cloudevents(
        sent([cloudevent], headers={"content-type": "application/cloudevents-batch+json"})
    )
    assert isinstance(said, Said)
    headers = [("content-type", b"application/cloudevents+json")]
    same(
        parse_record(said.values[0], said.headers),
        parse_record(json.dumps(cloudevent).encode(), headers),
    )


@pytest.mark.parametrize(
    "translate",
    [translate_batch, translate_capture, segment.translate_messages, segment.translate_message],
)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"batch":[1,}', b"\xff", b"nul", b'"x"', b"5", b"[" * 100_000, b'{"a":1}x'],
)
def test_what_cannot_be_read_is_said_once(translate: Any, body: bytes) -> None:
    refused = translate(sent(body, "/v1/track"))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.INVALID_JSON
    assert "body" in refused.message


@pytest.mark.parametrize("item", [1, None, "x", [], [{}]])
def test_an_item_that_is_no_object_is_kept_as_it_is(item: object) -> None:
    for translate in (translate_batch, segment.translate_messages, translate_capture):
        said = translate(sent({"batch": [item, {"event": "play"}]}))
        assert isinstance(said, Said)
        assert json.loads(said.values[0]) == item
        assert isinstance(parse_event(said.values[0]), Rejected)


def test_a_lone_surrogate_in_one_item_mends_the_batch() -> None:
    body = (
        b'{"batch":[{"event":"pl\\ud800","user_id":"u"},{"event":"stop","user_id":"u","n":1e400}]}'
    )
    said = translate_batch(sent(body))
    assert isinstance(said, Said)
    events = [parse_event(each) for each in said.values]
    assert [each.event for each in events if isinstance(each, Event)] == ["pl\ufffd", "stop"]
    assert b"1e400" in said.values[1], "numbers keep their text"


def test_items_go_on_byte_by_byte() -> None:
    odd = b'{ "event" : "play",\t"user_id":"\\u0041",  "metadata":{"n":1.50e2}}'
    said = translate_batch(sent(b'[%b , {"event":"x","user_id":"y"}]' % odd))
    assert isinstance(said, Said)
    assert said.values[0] == odd


def test_a_long_body_is_not_read_again() -> None:
    """Nobody else waits for what takes long: a lone surrogate, values without end."""
    pad = b" " * MOST_READ_AGAIN_BYTES
    refused = translate_batch(sent(b'[{"event":"pl\\ud800","user_id":"u"}%b]' % pad))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.INVALID_JSON
    refused = translate_batch(sent(b"[%b1]" % (b"1," * (MOST_COMMAS + 1))))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.TOO_LARGE


# --- our own -----------------------------------------------------------------------------------


def test_the_answer_says_what_was_wrong_by_place() -> None:
    assert confirm_batch(3, []) == b'{"status":"success","accepted":3,"rejected":[]}'
    refused = [Refused(1, "invalid_user_id", "user_id is required")]
    assert json.loads(confirm_batch(2, refused)) == {
        "status": "success",
        "accepted": 2,
        "rejected": [{"index": 1, "code": "invalid_user_id", "message": "user_id is required"}],
    }


@pytest.mark.parametrize("body", [{}, {"events": []}, {"batch": None}])
def test_an_object_without_a_batch_is_none(body: object) -> None:
    refused = translate_batch(sent(body))
    assert isinstance(refused, Rejected)
    assert "batch" in refused.message


@given(st.lists(st.binary(max_size=6).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_are_found_however_the_body_is_cut(wanted: list[bytes], data: st.DataObject) -> None:
    body = b"\n".join(wanted)
    lines, found, rest = Lines(), [], body
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        found += lines.feed(rest[:cut])
        rest = rest[cut:]
    found += lines.finish()
    assert found == [line for each in wanted if (line := each.strip(b" \t\r"))]


def test_a_line_without_an_end_takes_no_memory() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * 10_000) == []
    assert [len(each) for each in lines.feed(b"x\nnext\n")] == [MOST_LINE_BYTES, 4]
    assert lines.finish() == []


# --- Segment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            {"type": "track", "event": "play", "userId": "u", "anonymousId": "a"},
            {"event": "play", "user_id": "u"},
        ),
        (
            {"type": "track", "event": "play", "userId": None, "anonymousId": "a"},
            {"event": "play", "user_id": "a"},
        ),
        ({"event": "play", "userId": "u"}, {"event": "play", "user_id": "u"}),
        (
            {"type": "identify", "userId": "u", "traits": {"plan": "pro"}},
            {"event": "identify", "user_id": "u", "metadata": {"plan": "pro"}},
        ),
        (
            {"type": "identify", "userId": "u", "context": {"traits": {"plan": "pro"}}},
            {"event": "identify", "user_id": "u", "metadata": {"plan": "pro"}},
        ),
        (
            {"type": "identify", "userId": "u", "traits": {"a": 1}, "context": {"traits": {}}},
            {"event": "identify", "user_id": "u", "metadata": {"a": 1}},
        ),
        (
            {"type": "identify", "userId": "u", "context": [{"traits": {}}]},
            {"event": "identify", "user_id": "u"},
        ),
        (
            {
                "type": "page",
                "userId": "u",
                "name": "Home",
                "category": "Docs",
                "properties": {"x": 1},
            },
            {
                "event": "page",
                "user_id": "u",
                "metadata": {"name": "Home", "category": "Docs", "x": 1},
            },
        ),
        (
            {"type": "screen", "userId": "u", "name": "Home"},
            {"event": "screen", "user_id": "u", "metadata": {"name": "Home"}},
        ),
        (
            {"type": "group", "userId": "u", "groupId": "g", "traits": {"seats": 3}},
            {"event": "group", "user_id": "u", "metadata": {"groupId": "g", "seats": 3}},
        ),
        (
            {"type": "alias", "userId": "u", "previousId": "p"},
            {"event": "alias", "user_id": "u", "metadata": {"previousId": "p"}},
        ),
        (
            {"type": "track", "event": "play", "userId": "u", "originalTimestamp": NOW},
            {"event": "play", "user_id": "u", "timestamp": NOW},
        ),
        (
            {"type": "track", "event": "e", "userId": "u", "context": {"ip": "x"}, "extra": [1]},
            {"event": "e", "user_id": "u"},
        ),
    ],
)
def test_calls_of_segment(message: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert values(segment.translate_messages(sent({"batch": [message]}))) == [wanted]


def test_a_players_events_open_and_close_sessions_where_that_is_asked_for() -> None:
    names = [*segment.OPENING, *segment.CLOSING, "play", "Other"]
    body = {"batch": [{"type": "track", "event": each, "userId": "u"} for each in names]}
    asked = sent(body)
    assert [each["event"] for each in values(segment.translate_messages(asked))] == names
    asked = msgspec.structs.replace(asked, renamed=segment.video_names("play", 's"t'))
    found = values(segment.translate_messages(asked))
    wanted = ["play", "play", 's"t', 's"t', 's"t', "play", "Other"]
    assert [each["event"] for each in found] == wanted
    assert [each.get("metadata") for each in found] == [
        *({"originalEvent": each} for each in names[:5]), None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "kind"), segment.TYPES.items())
def test_a_path_of_segment_says_the_type(path: str, kind: bytes) -> None:
    (value,) = values(segment.translate_message(sent({"event": "play", "userId": "u"}, path)))
    assert value["event"] == ("play" if kind == b"track" else kind.decode())


def test_the_key_in_a_body_of_segment() -> None:
    for body in ({"batch": [], "writeKey": "k"}, {"event": "e", "userId": "u", "writeKey": "k"}):
        translate = segment.translate_messages if "batch" in body else segment.translate_message
        said = translate(sent(body, "/v1/track"))
        assert isinstance(said, Said)
        assert said.key == b"k"


def test_the_answers_that_segment_knows() -> None:
    assert segment.confirm_messages(1, []) == b'{"success":true}'
    told = json.loads(segment.confirm_messages(0, [Refused(0, "invalid_event", "no")]))
    assert told["success"] is True
    assert told["rejected"] == [{"index": 0, "code": "invalid_event", "message": "no"}]


# --- PostHog -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (
            {"event": "play", "distinct_id": "u", "properties": {"$lib": "x"}, "uuid": "1"},
            {"event": "play", "user_id": "u", "metadata": {"$lib": "x"}, "event_id": "1"},
        ),
        (
            {"event": "play", "properties": {"distinct_id": "u", "token": "k"}},
            {"event": "play", "user_id": "u", "metadata": {"distinct_id": "u"}},
        ),
        (
            {"event": "$set", "distinct_id": "u", "$set": {"plan": "pro"}},
            {"event": "$set", "user_id": "u", "metadata": {"$set": {"plan": "pro"}}},
        ),
        (
            {"event": "play", "distinct_id": "u", "offset": 2_000},
            {"event": "play", "user_id": "u", "timestamp": "2026-01-21T12:53:18Z"},
        ),
        ({"event": "play", "distinct_id": "u", "offset": -1}, {"event": "play", "user_id": "u"}),
        ({"event": "play", "distinct_id": "u", "offset": 1e99}, {"event": "play", "user_id": "u"}),
        (
            {"event": "play", "distinct_id": "u", "offset": 5, "timestamp": NOW},
            {"event": "play", "user_id": "u", "timestamp": NOW},
        ),
    ],
)
def test_events_of_posthog(event: dict[str, Any], wanted: dict[str, Any]) -> None:
    for body in ({"batch": [event]}, [event]):
        assert values(translate_capture(sent(body))) == [wanted]
    said = translate_capture(sent({**event, "api_key": "k"}))
    assert values(said) == [wanted]
    assert isinstance(said, Said)
    assert said.is_single
    assert said.key == b"k"


def test_the_page_script_sends_base64_in_a_form_and_its_key_among_the_properties() -> None:
    event = {"event": "é", "properties": {"distinct_id": "u", "token": "k"}}
    packed = base64.b64encode(json.dumps([event], ensure_ascii=False).encode())
    said = translate_capture(sent(urlencode({"data": packed, "compression": "base64"}).encode()))
    assert [each["event"] for each in values(said)] == ["é"]
    assert isinstance(said, Said)
    assert said.key == b"k"
    for wrong in (b"data=%%%", b"data=a", b"data="):
        assert isinstance(translate_capture(sent(wrong)), Rejected)


def test_the_key_among_properties_is_not_kept() -> None:
    def metadata_of(body: object) -> list[object]:
        return [each["metadata"] for each in values(translate_capture(sent(body)))]

    event = {"event": "e", "distinct_id": "u", "properties": {"a": 1.0, "token": "k", "b": 2}}
    other = {"event": "e", "distinct_id": "u", "properties": {"token": "another"}}
    assert metadata_of(event) == [{"a": 1.0, "b": 2}]
    assert metadata_of([event, other]) == [{"a": 1.0, "b": 2}, {"token": "another"}]
    assert metadata_of({**event, "api_key": "k"}) == [{"a": 1.0, "b": 2}]
    assert metadata_of({"api_key": "other", "batch": [event]}) == [event["properties"]]


def test_the_answers_that_posthog_knows() -> None:
    assert confirm_capture(1, []) == b'{"status":1}'
    assert json.loads(confirm_capture(0, [Refused(0, "c", "m")]))["status"] == 1


# --- CloudEvents -------------------------------------------------------------------------------


def test_a_binary_cloudevent_is_one_of_kafka_with_its_values_decoded() -> None:
    headers = {
        "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "caf%C3%A9",
        "ce-subject": "Ada%20L%22", "content-type": "application/json", "host": "x",
    }  # fmt: skip
    said = translate_cloudevents(sent({"a": 1}, headers=headers))
    assert isinstance(said, Said)
    assert said.is_single
    event = parse_record(said.values[0], said.headers)
    assert isinstance(event, Event)
    assert (event.event, event.user_id, event.event_id) == ("café", 'Ada L"', "/s\n1")
    assert json.loads(bytes(event.metadata)) == {"a": 1}


def test_a_request_that_is_no_cloudevent_says_what_is_missing() -> None:
    refused = translate_cloudevents(sent({}, headers={"content-type": "application/json"}))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.INVALID_CLOUDEVENT
    assert "ce-specversion" in refused.message


# --- an image ----------------------------------------------------------------------------------


def test_an_event_in_a_url() -> None:
    query = urlencode(
        {
            "event": "open",
            "user_id": "ada é",
            "metadata": '{"n":1.50}',
            "metadata.mail": "w 7",
            "event_id": "1",
            "other": "x",
        }
    )
    said = translate_pixel(sent(b"", query=query.encode()))
    assert values(said) == [
        {
            "event": "open",
            "user_id": "ada é",
            "event_id": "1",
            "metadata": {"n": 1.5, "mail": "w 7"},
        }
    ]
    assert isinstance(said, Said)
    assert b"1.50" in said.values[0]
    assert said.is_single


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (b"metadata=%7B", Reason.INVALID_METADATA),
        (b"metadata=[]", Reason.INVALID_METADATA),
        (b"a=1&" * 300, Reason.INVALID_JSON),
    ],
)
def test_a_url_that_cannot_be_read(query: bytes, reason: Reason) -> None:
    refused = translate_pixel(sent(b"", query=query))
    assert isinstance(refused, Rejected)
    assert refused.reason is reason


@given(st.binary(max_size=60))
def test_any_url_is_judged(query: bytes) -> None:
    said = translate_pixel(sent(b"", query=query))
    if isinstance(said, Said):
        parse_event(said.values[0])


# --- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent_at", "told", "wanted"),
    [
        ("2026-01-21T12:53:20Z", "2026-01-21T12:00:00Z", None),
        ("2026-01-21T12:48:20Z", "2026-01-21T12:00:00Z", None),  # five minutes are a slow request
        ("2026-01-21T12:58:20Z", "2026-01-21T12:58:19Z", None),
        ("2026-01-21T12:48:19.999Z", "2026-01-21T12:48:00Z", "2026-01-21T12:53:00.001Z"),
        ("2026-01-21T14:53:20+01:00", "2026-01-21T13:53:10Z", "2026-01-21T12:53:10Z"),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:05Z", NOW),  # not after the receipt
        ("1971-01-01T00:00:00Z", "1970-12-31T23:59:50Z", "2026-01-21T12:53:10Z"),
        ("2030-01-01T00:00:00Z", "1971-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("yesterday", "2026-01-21T12:00:00Z", None),
        (5, "2026-01-21T12:00:00Z", None),
        (None, "2026-01-21T12:00:00Z", None),
    ],
)
def test_a_clock_that_is_wrong_is_corrected(sent_at: object, told: str, wanted: str | None) -> None:
    fields = {"event": "e", "user_id": "u", "timestamp": told, "metadata": {"warning": "w", "a": 1}}
    for said in (
        translate_batch(sent({"batch": [fields], "sentAt": sent_at})),
        segment.translate_messages(sent({"batch": [to_segment(fields)], "sentAt": sent_at})),
        segment.translate_message(sent({**to_segment(fields), "sentAt": sent_at}, "/v1/track")),
        translate_capture(sent({"batch": [to_posthog(fields)], "sent_at": sent_at})),
    ):
        (value,) = values(said)
        if wanted is None:
            assert value == fields
            continue
        assert value["timestamp"] == wanted
        assert value["metadata"] == {
            "warning": "Client clock was wrong; timestamp was corrected",
            "originalTimestamp": told,
            "a": 1,
        }
        assert list(value["metadata"])[:2] == ["warning", "originalTimestamp"], (
            "they are kept first"
        )


def test_the_page_script_says_in_its_url_when_it_sent() -> None:
    event = {"event": "e", "distinct_id": "u", "timestamp": "2026-01-21T11:53:00Z"}
    said = translate_capture(sent([event], query=b"ip=0&_=%d&ver=1" % (NOW_MS - 3_600_000)))
    assert [each["timestamp"] for each in values(said)] == ["2026-01-21T12:53:00Z"]
    for query in (b"_=x", b"_=", b"_=%d" % 10**30, b"_"):
        assert values(translate_capture(sent([event], query=query)))[0]["timestamp"].endswith(
            "11:53:00Z"
        )


def test_without_a_timestamp_of_its_own_there_is_nothing_to_correct() -> None:
    batch = {
        "batch": [{"event": "e", "user_id": "u"}, {"event": "e"}, 5],
        "sentAt": "2020-01-01T00:00:00Z",
    }
    assert values(translate_batch(sent(batch))) == batch["batch"]


# --- fields in front ---------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=3), anything, max_size=3), st.sampled_from([None, 0, 1]))
def test_fields_in_front(fields: dict[str, Any], indent: int | None) -> None:
    raw = json.dumps(fields, indent=indent).encode()
    assert json.loads(with_more(raw, b'"a~":1,"b~":[2],')) == {"a~": 1, "b~": [2], **fields}
    assert with_more(raw, b"") == raw
