"""POST /track over HTTP: each input gets the contract's answer, and what is taken lies in Kafka."""

from __future__ import annotations

import gzip
import json
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import unquote

import httpx
import msgspec
import pytest
from aiokafka.partitioner import murmur2
from backports import zstd

from contracts.events import Event, Rejected, parse_event
from tests.bodies import MENDED, REFUSED, TAKEN, event, metadata_of, nested, raw
from tests.ingest.service import Record, Service, read_events

SUCCESS = b'{"status":"success","message":"Event logged."}'
UUID_7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=10) as client:
        yield client


def records_of(service: Service, event_id: str) -> list[Record]:
    return [each for each in read_events(service.settings) if each.event_id == event_id]


def find(service: Service, event_id: str, earlier: int = 0) -> Record:
    """The one record of an id behind those that there were earlier."""
    (record,) = records_of(service, event_id)[earlier:]
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
    # Other tests of the same service send some of the same ids.
    earlier = len(records_of(service, sent.event_id)) if sent.event_id else 0
    event_id = check_taken(client.post("/track", content=body))

    record = find(service, event_id, earlier)
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
        ({"content-encoding": "br"}, "unsupported_encoding"),
        ({"content-encoding": "gzip, gzip"}, "unsupported_encoding"),
        ({"content-encoding": "identity, br"}, "unsupported_encoding"),
    ],
)
def test_types_and_encodings_that_are_not_taken(
    service: Service, headers: dict[str, str], code: str
) -> None:
    given = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    check_refused(httpx.post(f"{service.url}/track", content=event(), headers=given), 415, code)


def test_an_encoding_that_is_not_taken_is_answered_with_those_that_are(
    client: httpx.Client,
) -> None:
    answer = client.post("/track", content=event(), headers={"content-encoding": "br"})
    assert answer.headers["accept-encoding"] == "gzip, deflate, zstd"


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress)],
)
def test_a_compressed_body_is_logged_as_what_it_unfolds_to(
    service: Service, client: httpx.Client, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    event_id = f"packed-{encoding}"
    body = event(event_id=event_id)
    headers = {"content-encoding": encoding}
    assert check_taken(client.post("/track", content=pack(body), headers=headers)) == event_id
    assert find(service, event_id).value == body

    def in_pieces() -> Iterator[bytes]:
        yield from (bytes([each]) for each in pack(event(event_id=f"{event_id}-in-pieces")))

    check_taken(client.post("/track", content=in_pieces(), headers=headers))
    find(service, f"{event_id}-in-pieces")
    for wrong, status, code in (
        (pack(body)[:-1], 400, "invalid_encoding"),
        (pack(body) + b"{}", 400, "invalid_encoding"),
        (b"", 400, "invalid_encoding"),
        (pack(b" " * 70_000), 413, "too_large"),
        (pack(b"[]"), 400, "invalid_json"),
    ):
        check_refused(client.post("/track", content=wrong, headers=headers), status, code)


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


@pytest.mark.parametrize("path", ["/", "/track/", "/tracks", "/track/batches", "/%2e%2e/etc"])
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
    assert exposed == (
        "x-event-id, retry-after, ratelimit, ratelimit-policy, link, etag, complete-from, "
        "track-as-of, track-lag"
    )


def test_health(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
