"""The routes over HTTP: what each dialect's client gets as an answer, and what lies in Kafka."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from backports import zstd

from contracts.events import MAX_EVENT_BYTES, Event, Rejected
from contracts.records import parse_record
from ingest.dialects.pixel import GIF
from ingest.dialects.posthog import PATHS
from ingest.dialects.segment import BATCHES, TYPES
from ingest.dialects.table import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from ingest.posthog_browser import FLAGS_PATHS
from runtime.settings import Settings
from tests.bodies import REFUSED, TAKEN
from tests.ingest.dialects.shapes import to_cloudevent, to_posthog, to_segment
from tests.ingest.service import Record, Service, memory_of, read_events, start

LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=20) as client:
        yield client


def named(label: str, count: int) -> list[dict[str, Any]]:
    return [
        {"event": "play", "user_id": f"{label}-{each % 7}", "event_id": f"{label}-{each}"}
        for each in range(count)
    ]


def found(service: Service, label: str) -> list[tuple[Record, Event | Rejected]]:
    """Return the records that have the label in their value, and what they are."""
    return [
        (each, parse_record(each.value, each.headers))
        for each in read_events(service.settings)
        if label.encode() in each.value or any(label.encode() in value for _, value in each.headers)
    ]


def ids(service: Service, label: str) -> list[str]:
    events = [event for _, event in found(service, label) if isinstance(event, Event)]
    return sorted(str(each.event_id) for each in events)


def taken(answer: httpx.Response, accepted: int) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.content == b'{"status":"success","accepted":%d,"rejected":[]}' % accepted
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_batch_in_each_of_its_forms(service: Service, client: httpx.Client) -> None:
    forms: dict[str, tuple[Callable[[Any], str], dict[str, str]]] = {
        "array": (json.dumps, {}),
        "object": (lambda events: json.dumps({"batch": events}), {}),
        "text": (json.dumps, {"content-type": "text/plain;charset=UTF-8"}),
        "lines": (lambda events: "\n".join(map(json.dumps, events)), LINES),
        "lines with ends": (lambda events: "\r\n\r\n".join(map(json.dumps, events)) + "\n", LINES),
    }
    for form, (write, headers) in forms.items():
        label = f"form {form}"
        body = write(named(label, 100))
        taken(client.post("/track/batch", content=body, headers=headers), 100)
        assert ids(service, label) == sorted(each["event_id"] for each in named(label, 100))


@pytest.mark.parametrize("headers", [{}, LINES], ids=["array", "lines"])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress)],
)
def test_a_compressed_batch(
    service: Service, client: httpx.Client, headers: dict[str, str], encoding: str, pack: Any
) -> None:
    label = f"packed {encoding} {len(headers)}"
    events = named(label, 2_000)
    text = "\n".join(map(json.dumps, events)) if headers else json.dumps(events)
    packed = pack(text.encode())

    def in_pieces() -> Iterator[bytes]:
        yield from (packed[start : start + 1_000] for start in range(0, len(packed), 1_000))

    answer = client.post(
        "/track/batch", content=in_pieces(), headers={**headers, "content-encoding": encoding}
    )
    taken(answer, 2_000)
    assert len(ids(service, label)) == 2_000


def test_good_events_are_taken_and_bad_ones_reported_and_kept(
    service: Service, client: httpx.Client
) -> None:
    bad = [body for body, status, _ in REFUSED.values() if status == 400 and is_json(body)]
    mixed = [b'{"event":"play","user_id":"mixed","event_id":"mixed"}', *bad, b"5", b"null"]
    answer = client.post("/track/batch", content=b"[%b]" % b",".join(mixed))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["accepted"] == 1
    assert [each["index"] for each in told["rejected"]] == list(range(1, len(mixed)))
    assert len(ids(service, "mixed")) == 1
    kept = [each for each in read_events(service.settings) if each.key is None]
    for each, body in zip(told["rejected"], mixed[1:], strict=True):
        (same, *_) = [record for record in kept if record.value == body.strip(b" \t\r\n")]
        judged = parse_record(same.value, same.headers)
        assert isinstance(judged, Rejected)
        assert (judged.reason, judged.message) == (each["code"], each["message"])
    good = b"[%b]" % b",".join(TAKEN.values())
    taken(client.post("/track/batch", content=good), len(TAKEN))


def is_json(body: bytes) -> bool:
    try:
        json.loads(body.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        return False
    return b"\\ud" not in body


def test_lines_that_are_no_json_are_reported_and_the_others_taken(
    service: Service, client: httpx.Client
) -> None:
    lines = [b'{"event":"play","user_id":"u","event_id":"line-1"}', b"{", b"\xff", b"x" * 200_000]
    lines += [b'{"event":"play","user_id":"u","event_id":"line-2"}']
    answer = client.post("/track/batch", content=b"\n".join(lines), headers=LINES)
    assert answer.status_code == 200
    told = answer.json()
    assert told["accepted"] == 2
    codes = [(each["index"], each["code"]) for each in told["rejected"]]
    assert codes == [(1, "invalid_json"), (2, "invalid_json"), (3, "too_large")]
    assert ids(service, '"line-') == ["line-1", "line-2"]


@pytest.mark.parametrize("headers", [{}, LINES], ids=["array", "lines"])
def test_limits_of_a_batch(client: httpx.Client, headers: dict[str, str]) -> None:
    event = '{"event":"play","user_id":"limits"}'

    def post(count: int, padding: int = 0) -> httpx.Response:
        each = event + " " * padding
        body = "\n".join([each] * count) if headers else f"[{','.join([each] * count)}]"
        return client.post("/track/batch", content=body, headers=headers)

    taken(post(MAX_BATCH_EVENTS), MAX_BATCH_EVENTS)
    for answer in (post(MAX_BATCH_EVENTS + 1), post(200, MAX_BATCH_BYTES // 200)):
        assert answer.status_code == 413
        assert answer.json()["code"] == "too_large"


def test_an_empty_batch_is_none_and_no_error(client: httpx.Client) -> None:
    taken(client.post("/track/batch", content=b"[]"), 0)
    taken(client.post("/track/batch", content=b'{"batch":[]}'), 0)
    taken(client.post("/track/batch", content=b"\n\n", headers=LINES), 0)
    taken(client.post("/track/batch", content=b"", headers=LINES), 0)


def test_a_bomb_is_cut(client: httpx.Client) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(b"[") + packer.flush(zlib.Z_FULL_FLUSH)
    bomb += 50 * (packer.compress(b" " * (4 << 20)) + packer.flush(zlib.Z_FULL_FLUSH))
    for headers in ({}, LINES):
        answer = client.post(
            "/track/batch", content=bomb, headers={**headers, "content-encoding": "gzip"}
        )
        assert answer.status_code == 413


def test_many_bodies_that_unfold_take_no_more_than_their_share(
    migrated: Settings, tmp_path: Path
) -> None:
    """Each is 10 KB on the wire and 10 MB then; they take turns, and single events go between."""
    padded = b"[%b%b]" % (b'{"event":"play","user_id":"u"}', b" " * (MAX_BATCH_BYTES - 40))
    packed, most = gzip.compress(padded), 32 * 1024 * 1024
    settings = dataclasses.replace(migrated, in_flight_bytes=most)

    async def send_all(url: str) -> tuple[list[int], int]:
        """Return the answers to all, and how many single events were answered meanwhile."""
        limits = httpx.Limits(max_connections=40)
        async with (
            httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client,
            httpx.AsyncClient(base_url=url, timeout=60) as single,
        ):
            headers = {"content-encoding": "gzip"}
            sending = asyncio.gather(
                *(client.post("/track/batch", content=packed, headers=headers) for _ in range(120))
            )
            answered = 0
            while not sending.done():
                taken = await single.post("/track", json={"event": "play", "user_id": "single"})
                assert taken.status_code == 200
                answered += 1
        return [each.status_code for each in await sending], answered

    with start(settings, tmp_path) as service:
        service.wait_until("/readyz", 200)
        found, answered = asyncio.run(send_all(service.url))
        assert set(found) <= {200, 503}
        assert found.count(200) > 3
        assert answered > 20, "an event is not kept waiting by all of them"
        assert memory_of(service, "VmHWM") < 100 * 1024 * 1024 + 3 * most
        assert (
            httpx.post(
                f"{service.url}/track/batch", content=packed, headers={"content-encoding": "gzip"}
            ).status_code
            == 200
        ), "what was held is free again"


def test_one_event_that_is_too_large_does_not_cost_the_others(client: httpx.Client) -> None:
    large = json.dumps({"event": "play", "user_id": "u", "pad": "x" * MAX_EVENT_BYTES})
    huge = json.dumps({"event": "play", "user_id": "u", "pad": "x" * 3_000_000})
    body = f'[{large},{{"event":"play","user_id":"u"}},{huge}]'
    told = client.post("/track/batch", content=body).json()
    assert told["accepted"] == 1
    assert [each["code"] for each in told["rejected"]] == ["too_large", "too_large"]
    taken(client.post("/track/batch", content='[{"event":"play","user_id":"u"}]'), 1)


def test_a_key_for_a_batch_names_its_events(service: Service, client: httpx.Client) -> None:
    batch = [{"event": "play", "user_id": "keyed"}, {"event": "stop", "user_id": "keyed"}]
    batch += [{"event": "stop", "user_id": "keyed", "event_id": "own"}]
    headers = {"idempotency-key": '"order-7"'}
    taken(client.post("/track/batch", content=json.dumps(batch), headers=headers), 3)
    assert ids(service, '"keyed"') == ["order-7:0", "order-7:1", "own"]
    for key in ('"open', "", "~x", "x" * 124):
        answer = client.post("/track/batch", content="[]", headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event_id")
    single = {"event": "play", "userId": "keyed single"}
    answer = client.post("/v1/track", json=single, headers={"idempotency-key": "k-1"})
    assert answer.status_code == 200
    assert ids(service, "keyed single") == ["k-1"]


@pytest.mark.parametrize("path", [*TYPES, *BATCHES])
def test_segment(service: Service, client: httpx.Client, path: str) -> None:
    label = f"of segment {path}."
    message = {**to_segment({"event": "play", "user_id": "u", "event_id": label}), "context": {}}
    sent = {"batch": [message], "sentAt": "2026-01-01T00:00:00Z"} if path in BATCHES else message
    answer = client.post(
        path, content=json.dumps(sent), headers={"content-type": "text/plain;charset=UTF-8"}
    )
    assert (answer.status_code, answer.content) == (200, b'{"success":true}')
    assert ids(service, label) == [label]


def test_bad_calls_of_segment(service: Service, client: httpx.Client) -> None:
    answer = client.post("/v1/track", json={"event": "play"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_user_id")
    batch = [{"type": "track", "event": "play"}, {"type": "track", "event": "play", "userId": "u"}]
    told = client.post("/v1/batch", json={"batch": batch}).json()
    assert told["success"] is True
    assert [(each["index"], each["code"]) for each in told["rejected"]] == [(0, "invalid_user_id")]


def test_what_the_page_script_of_segment_asks_for(client: httpx.Client) -> None:
    answer = client.get("/v1/projects/KEY/settings")
    told = answer.json()["integrations"]["Segment.io"]
    assert told["apiKey"] == "KEY"
    assert told["apiHost"] == f"{client.base_url.host}:{client.base_url.port}/v1"
    assert told["protocol"] == "http"
    behind = client.get("/v1/projects/KEY/settings", headers={"x-forwarded-proto": "https"})
    assert behind.json()["integrations"]["Segment.io"]["protocol"] == "https"
    assert client.post("/v1/m", content="{").status_code == 200
    preflight = client.options("/v1/t", headers={"origin": "https://x.example"})
    assert preflight.status_code == 204
    allowed = preflight.headers["access-control-allow-headers"]
    assert {"authorization", "content-type", "x-retry-count"} <= set(allowed.split(", "))
    assert int(preflight.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize("path", PATHS)
def test_posthog(service: Service, client: httpx.Client, path: str) -> None:
    def event(number: int) -> dict[str, Any]:
        fields = {"event": "play", "user_id": "u", "event_id": f"of posthog {path} {number}"}
        return to_posthog(fields)

    bodies = (
        json.dumps({**event(0), "api_key": "k"}).encode(),
        json.dumps({"api_key": "k", "batch": [event(1)]}).encode(),
        gzip.compress(json.dumps([event(2)]).encode()),
        urlencode({"data": base64.b64encode(json.dumps(event(3)).encode())}).encode(),
    )
    for body in bodies:
        answer = client.post(path, content=body, headers={"content-type": "text/plain"})
        assert (answer.status_code, answer.content) == (200, b'{"status":1}'), answer.text
    wanted = [f"of posthog {path} {number}" for number in range(len(bodies))]
    assert [
        each for each in ids(service, "of posthog") if each[:-2] == f"of posthog {path}"
    ] == wanted


def test_cloudevents_in_each_mode(service: Service, client: httpx.Client) -> None:
    def event(number: int) -> dict[str, Any]:
        fields = {"event": "play", "user_id": "ada", "event_id": f"cloud {number}"}
        return to_cloudevent({**fields, "metadata": {"n": number}})

    kind = "application/cloudevents"
    for body, media in ((event(0), f"{kind}+json"), ([event(1), event(2)], f"{kind}-batch+json")):
        answer = client.post("/cloudevents", json=body, headers={"content-type": media})
        taken(answer, len(body) if isinstance(body, list) else 1)
    attributes = {name: value for name, value in event(3).items() if name != "data"}
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    answer = client.post(
        "/cloudevents", content=b'{"n":3}', headers={**headers, "content-type": "application/json"}
    )
    taken(answer, 1)
    events = [event for _, event in found(service, "cloud ") if isinstance(event, Event)]
    assert sorted(bytes(each.metadata) for each in events) == [b'{"n":%d}' % n for n in range(4)]
    assert {each.user_id for each in events} == {"ada"}
    lacking = {name: value for name, value in event(0).items() if name != "subject"}
    for body, media, status in (
        (lacking, f"{kind}+json", 400),
        ([lacking], f"{kind}-batch+json", 200),
        ({}, "application/json", 400),
    ):
        answer = client.post("/cloudevents", json=body, headers={"content-type": media})
        assert answer.status_code == status
        assert "invalid_cloudevent" in answer.text


def test_an_event_in_an_image(service: Service, client: httpx.Client) -> None:
    query = {"event": "open", "user_id": "mail", "event_id": "pixel-1", "metadata.mail": "w 7"}
    answer = client.get("/pixel.gif", params=query)
    assert (answer.status_code, answer.content) == (200, GIF)
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["cache-control"] == "no-store"
    ((_, event),) = found(service, "pixel-1")
    assert isinstance(event, Event)
    assert json.loads(bytes(event.metadata)) == {"mail": "w 7"}
    refused = client.get("/pixel.gif", params={"event": "open"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_user_id")


def test_many_clients_at_once_get_all_their_events(service: Service) -> None:
    async def send() -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            batches = [json.dumps(named(f"at once {each} ", 500)) for each in range(40)]
            answers = await asyncio.gather(
                *(client.post("/track/batch", content=each) for each in batches)
            )
        for answer in answers:
            taken(answer, 500)

    asyncio.run(send())
    assert len(set(ids(service, "at once"))) == 20_000


def test_what_the_page_script_of_posthog_asks_for(client: httpx.Client) -> None:
    config = client.get("/array/KEY/config").json()
    assert config["token"] == "KEY"
    assert config["hasFeatureFlags"] is False
    assert "gzip-js" in config["supportedCompression"]
    for path in FLAGS_PATHS:
        answer = client.post(path, params={"v": 2}, content="data=e30%3D")
        assert answer.status_code == 200, path
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.json()["flags"] == answer.json()["featureFlags"] == {}


def test_the_settings_of_posthog_as_a_script(client: httpx.Client) -> None:
    answer = client.get("/array/KE%22Y%E2%80%A8/config.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    named = re.search(r"_REMOTE_CONFIG\[(.*?)\] = \{config: (.*), siteApps: \[\]\};", answer.text)
    assert named is not None
    assert named[1].isascii()
    assert json.loads(named[1]) == json.loads(named[2])["token"] == 'KE"Y\u2028'
