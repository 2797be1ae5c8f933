"""POST /track over HTTP: each input gets the contract's answer, and what is taken lies in Kafka."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from urllib.parse import unquote

import httpx
import msgspec
import pytest
from aiokafka.partitioner import murmur2

from contracts.events import Event, Rejected, parse_event
from tests.ingest.service import Record, Service, read_events

SUCCESS = b'{"status":"success","message":"Event logged."}'
UUID_7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def event(**fields: object) -> bytes:
    return json.dumps({"event": "play", "user_id": "u"} | fields, ensure_ascii=False).encode()


def raw(rest: str) -> bytes:
    return f'{{"event":"play","user_id":"u",{rest}}}'.encode()


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def metadata_of(size: int, letter: str = "x") -> str:
    """Return a metadata object of that many bytes."""
    room = size - len('{"a":""}')
    width = len(letter.encode())
    return '{"a":"' + letter * (room // width) + "y" * (room % width) + '"}'


TAKEN = {
    "least": event(),
    "null for each optional field": event(timestamp=None, metadata=None, event_id=None),
    "unknown fields": event(more=[1, {"x": None}]),
    "white space around": b" \r\n\t" + event() + b" \n\t\r ",
    "event_id inside metadata only": event(metadata={"event_id": "x"}),
    "a brace at the end of a value": event(metadata={"a": "}"}),
    "name of 200": event(event="é" * 200),
    "user of 256": event(user_id="😀" * 256),
    "id of 128": event(event_id="日" * 128),
    "NUL in user": event(user_id="a\0b"),
    "NUL and emoji in event_id": event(event_id="\0😀"),
    "CR LF and Japanese in event_id": event(event_id="\r\nX-Forged: 1\r\n日本"),
    "user p": event(user_id="p"),
    "timestamp Z": event(timestamp="2025-01-18T14:30:00Z"),
    "timestamp offset": event(timestamp="2025-01-18T14:30:00+05:30"),
    "timestamp nine digits": event(timestamp="2025-01-18T14:30:00.123456789Z"),
    "timestamp 2200": event(timestamp="2200-01-01T00:00:00Z"),
    "metadata of 4096": raw('"metadata":' + metadata_of(4096)),
    "metadata of 4097": raw('"metadata":' + metadata_of(4097)),
    "metadata of 4096, multi-byte": raw('"metadata":' + metadata_of(4096, "日")),
    "metadata of 4097, multi-byte": raw('"metadata":' + metadata_of(4097, "日")),
    "1e400": raw('"metadata":{"n":1e400}'),
    "30 digits": raw('"metadata":{"n":123456789012345678901234567890}'),
    "depth 64": raw('"metadata":' + nested(64)),
    "empty metadata": event(metadata={}),
}

MENDED = {
    "surrogate in metadata": (raw(r'"metadata":{"a\ud800":"x\udfff"}'), "metadata"),
    "surrogate in event": (rb'{"event":"p\ud800","user_id":"u"}', "event"),
    "surrogate in user_id": (rb'{"event":"play","user_id":"\ud800u"}', "user_id"),
    "surrogate in event_id": (raw(r'"event_id":"i\udbff"'), "event_id"),
}

REFUSED = {
    "empty body": (b"", 400, "invalid_json"),
    "broken": (b'{"event":"play","user_id":"u"', 400, "invalid_json"),
    "not UTF-8": (b'{"event":"play","user_id":"\xff"}', 400, "invalid_json"),
    "two values": (event() + event(), 400, "invalid_json"),
    "array": (b"[" + event() + b"]", 400, "invalid_json"),
    "string": (b'"play"', 400, "invalid_json"),
    "null": (b"null", 400, "invalid_json"),
    "form": (b"event=play&user_id=u", 400, "invalid_json"),
    "NaN": (raw('"metadata":{"a":NaN}'), 400, "invalid_json"),
    "no event": (b'{"user_id":"u"}', 400, "invalid_event"),
    "no user": (b'{"event":"play"}', 400, "invalid_user_id"),
    "event number": (event(event=1), 400, "invalid_event"),
    "event null": (event(event=None), 400, "invalid_event"),
    "event empty": (event(event=""), 400, "invalid_event"),
    "event of 201": (event(event="x" * 201), 400, "invalid_event"),
    "event date": (event(event="date"), 400, "invalid_event"),
    "user list": (event(user_id=[]), 400, "invalid_user_id"),
    "user empty": (event(user_id=""), 400, "invalid_user_id"),
    "user of 257": (event(user_id="x" * 257), 400, "invalid_user_id"),
    "timestamp number": (event(timestamp=1737201600), 400, "invalid_timestamp"),
    "timestamp without offset": (
        event(timestamp="2025-01-18T14:30:00"),
        400,
        "invalid_timestamp",
    ),
    "timestamp with a space": (event(timestamp="2025-01-18 14:30:00Z"), 400, "invalid_timestamp"),
    "timestamp :60": (event(timestamp="2016-12-31T23:59:60Z"), 400, "invalid_timestamp"),
    "timestamp 1969": (event(timestamp="1969-12-31T23:59:59Z"), 400, "invalid_timestamp"),
    "timestamp of 65": (
        event(timestamp="2025-01-18T14:30:00." + "1" * 44 + "Z"),
        400,
        "invalid_timestamp",
    ),
    "metadata list": (event(metadata=[]), 400, "invalid_metadata"),
    "metadata text": (event(metadata="x"), 400, "invalid_metadata"),
    "depth 65": (raw('"metadata":' + nested(65)), 400, "invalid_metadata"),
    "event_id number": (event(event_id=1), 400, "invalid_event_id"),
    "event_id empty": (event(event_id=""), 400, "invalid_event_id"),
    "event_id of 129": (event(event_id="x" * 129), 400, "invalid_event_id"),
    "event_id derived": (event(event_id="~x"), 400, "invalid_event_id"),
    "10 MB": (raw('"metadata":' + metadata_of(10_000_000)), 413, "too_large"),
    "one byte too many": (event() + b" " * (65_537 - len(event())), 413, "too_large"),
}


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=10) as client:
        yield client


def find(service: Service, event_id: str) -> Record:
    (record,) = [each for each in read_events(service.settings) if each.event_id == event_id]
    return record


def check_taken(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.content == SUCCESS
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    encoded: str = answer.headers["x-event-id"]
    assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", encoded)
    return unquote(encoded)


def check_refused(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    problem = answer.json()
    assert list(problem) == ["status", "code", "message"]
    assert (problem["status"], problem["code"]) == ("error", code)
    message: str = problem["message"]
    assert message
    return message


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
def test_an_event_is_logged_as_it_came(service: Service, client: httpx.Client, body: bytes) -> None:
    sent = parse_event(body)
    assert isinstance(sent, Event)
    event_id = check_taken(client.post("/track", content=body))

    record = find(service, event_id)
    logged = parse_event(record.value)
    wanted = msgspec.structs.replace(sent, event_id=event_id)
    assert logged == wanted
    key = wanted.user_id.encode()
    assert record.key == key
    assert record.partition == (murmur2(key) & 0x7FFFFFFF) % 4
    assert record.headers == ()
    if sent.event_id is None:
        assert UUID_7.fullmatch(event_id)
        assert len(re.findall(b'"event_id":', record.value.split(b'"metadata"')[-1])) <= 2
    else:
        assert record.value == body


@pytest.mark.parametrize(("body", "field"), MENDED.values(), ids=MENDED.keys())
def test_lone_surrogates_are_mended_before_the_partition_is_chosen(
    service: Service, client: httpx.Client, body: bytes, field: str
) -> None:
    record = find(service, check_taken(client.post("/track", content=body)))

    assert "\ufffd" in json.dumps(record.fields[field], ensure_ascii=False)
    assert b"\\ud" not in record.value
    key = str(record.fields["user_id"]).encode()
    assert record.key == key
    assert record.partition == (murmur2(key) & 0x7FFFFFFF) % 4


@pytest.mark.parametrize(("body", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_event_is_refused(
    client: httpx.Client, body: bytes, status: int, code: str
) -> None:
    message = check_refused(client.post("/track", content=body), status, code)
    field = code.removeprefix("invalid_")
    if status == 400 and field != "json":
        assert field in message


def test_nesting_beyond_all_measure_is_refused(client: httpx.Client) -> None:
    answer = client.post("/track", content=raw('"metadata":' + nested(10_000)))
    assert answer.status_code == 400
    assert answer.json()["code"] in {"invalid_json", "invalid_metadata"}


def test_a_field_that_is_null_is_not_written_twice(service: Service, client: httpx.Client) -> None:
    event_id = check_taken(client.post("/track", content=event(event_id=None)))
    assert find(service, event_id).value.count(b'"event_id"') == 1


def test_a_full_body_is_taken_and_stays_an_event_with_its_id(
    service: Service, client: httpx.Client
) -> None:
    padded = event(event_id="full") + b" " * (65_536 - len(event(event_id="full")))
    assert check_taken(client.post("/track", content=padded)) == "full"
    full = raw('"metadata":' + metadata_of(65_536 - len(raw('"metadata":'))))
    assert len(full) == 65_536
    event_id = check_taken(client.post("/track", content=full))
    logged = parse_event(find(service, event_id).value)
    assert not isinstance(logged, Rejected), logged
    assert logged.event_id == event_id


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/json; profile=x",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
    ],
)
def test_content_types_that_are_taken(service: Service, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    check_taken(httpx.post(f"{service.url}/track", content=event(), headers=headers))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-type": "application/xml"}, "unsupported_media_type"),
        ({"content-type": "multipart/form-data; boundary=x"}, "unsupported_media_type"),
        ({"content-type": "application/cloudevents+json"}, "unsupported_media_type"),
        ({"content-type": "application/json; charset=utf-16"}, "unsupported_media_type"),
        ({"content-type": "text/plain; charset=latin1"}, "unsupported_media_type"),
        ({"content-type": "\xff\xfe"}, "unsupported_media_type"),
        ({"content-encoding": "gzip"}, "unsupported_encoding"),
        ({"content-encoding": "identity, br"}, "unsupported_encoding"),
    ],
)
def test_types_and_encodings_that_are_not_taken(
    service: Service, headers: dict[str, str], code: str
) -> None:
    given = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    check_refused(httpx.post(f"{service.url}/track", content=event(), headers=given), 415, code)


def test_identity_is_no_encoding(service: Service) -> None:
    headers = {"content-encoding": "Identity"}
    check_taken(httpx.post(f"{service.url}/track", content=event(), headers=headers))


@pytest.mark.parametrize(
    ("key", "event_id"),
    [
        (b"order-1", "order-1"),
        (b'"order 2"', "order 2"),
        (rb'"a\"b\\c"', 'a"b\\c'),
        ("schlüssel".encode(), "schlüssel"),
        ("schlüssel".encode("latin-1"), "schlüssel"),
        ("日".encode() * 128, "日" * 128),
    ],
)
def test_the_idempotency_key_is_the_id_of_an_event_without_one(
    service: Service, client: httpx.Client, key: bytes, event_id: str
) -> None:
    answer = client.post("/track", content=event(user_id="k"), headers={b"idempotency-key": key})
    assert check_taken(answer) == event_id
    assert event_id in {each.event_id for each in read_events(service.settings)}


@pytest.mark.parametrize("key", [b"", b'""', b"~x", b"x" * 129, b'"open', b'"a" b', b'"a\\x"'])
def test_an_idempotency_key_that_is_no_id_is_refused(client: httpx.Client, key: bytes) -> None:
    headers = {b"idempotency-key": key}
    message = check_refused(
        client.post("/track", content=event(), headers=headers), 400, "invalid_event_id"
    )
    assert "Idempotency-Key" in message
    # It is not even looked at where the body has an id.
    check_taken(client.post("/track", content=event(event_id="own"), headers=headers))


def test_ids_made_here_are_all_different_and_in_order(client: httpx.Client) -> None:
    ids = [check_taken(client.post("/track", content=event())) for _ in range(20)]
    assert ids == sorted(set(ids))
    assert all(uuid.UUID(each).version == 7 for each in ids)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_other_methods_are_not_allowed(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/track")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    if method != "HEAD":
        check_refused(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/", "/track/", "/tracks", "/track/batch", "/%2e%2e/etc"])
def test_other_paths_are_not_there(client: httpx.Client, path: str) -> None:
    check_refused(client.post(path, content=event()), 404, "not_found")


@pytest.mark.parametrize("path", ["/track", "/readyz", "/nowhere"])
def test_preflights_are_answered(client: httpx.Client, path: str) -> None:
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,authorization,idempotency-key",
    }
    answer = client.options(path, headers=asked)
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "idempotency-key", "x-retry-count"} <= set(allowed)
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in answer.headers


def test_pages_may_read_the_headers_of_answers(client: httpx.Client) -> None:
    exposed = client.post("/track", content=event()).headers["access-control-expose-headers"]
    assert exposed == "x-event-id, retry-after"


def test_health(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
