"""Keys and limits of POST /track, at processes that run."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from cli.keys import add_key, revoke_key
from runtime.access.keys import Scope
from runtime.settings import Settings
from tests.environments import environment_of
from tests.ingest.service import TRACK, Service, read_events, start

EVENT = b'{"event":"play","user_id":"u"}'
NOTICED_S = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Guarded:
    """A process with keys, which therefore may listen on every address."""

    service: Service
    keys: Path
    secrets: dict[str, str]
    client: httpx.Client

    def post(self, event_id: str = "", **headers: str) -> httpx.Response:
        body = {"event": "play", "user_id": "u", **({"event_id": event_id} if event_id else {})}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/track", content=json.dumps(body), headers=named)

    def add(self, name: str, *scopes: Scope) -> str:
        self.secrets[name] = add_key(self.keys, name, scopes, datetime.now(UTC))
        return self.secrets[name]


@pytest.fixture(scope="module")
def guarded(migrated: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, secrets = folder / "keys", {}
    for name, scope in (("website", Scope.WRITE), ("analyst", Scope.READ)):
        secrets[name] = add_key(keys, name, [scope], datetime.now(UTC))
    settings = dataclasses.replace(migrated, keys=str(keys), host="0.0.0.0", plain_http="yes")
    with (
        start(settings, folder) as service,
        httpx.Client(base_url=service.url, timeout=10) as client,
    ):
        service.wait_until("/readyz", 200)
        yield Guarded(service, keys, secrets, client)


def until(status: int, guarded: Guarded, secret: str) -> None:
    """Wait for the moment from which on a key has this answer."""
    wait_for(lambda: guarded.post(x_write_key=secret).status_code == status)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + NOTICED_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def exchange(service: Service, head: bytes, body: bytes = b"") -> bytes:
    """Send bytes over a connection of its own; return what comes back at first."""
    with socket.create_connection(service.address, timeout=5) as connection:
        connection.sendall(b"POST /track HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n" + body)
        return connection.recv(65_536)


def test_a_record_says_whose_key_it_was(guarded: Guarded) -> None:
    secret = guarded.secrets["website"]
    ways = {
        "bearer": {"authorization": f"Bearer {secret}"},
        "basic": {"authorization": f"Basic {b64encode(f'{secret}:'.encode()).decode()}"},
        "own": {"x_write_key": secret},
    }
    for way, headers in ways.items():
        answer = guarded.post(f"keys-{way}", **headers)
        assert (answer.status_code, answer.headers["x-event-id"]) == (200, f"keys-{way}")
        assert "ratelimit" not in answer.headers
    sources = {each.event_id: each.headers for each in read_events(guarded.service.settings)}
    for way in ways:
        assert sources[f"keys-{way}"] == (("source", b"website"),)


def test_clients_show_their_key_each_in_its_own_way(guarded: Guarded) -> None:
    client, secret = guarded.client, guarded.secrets["website"]

    def event(label: str) -> dict[str, object]:
        ids = dict.fromkeys(("event_id", "messageId", "uuid"), f"client-{label}")
        users = dict.fromkeys(("user_id", "userId", "distinct_id"), "u")
        return {"event": "play", **users, **ids}

    def ask(key: str) -> dict[str, httpx.Response]:
        basic = b64encode(f"{key}:".encode()).decode()
        in_url = f"?writeKey={key}"
        token = {**event("token"), "properties": {"token": key, "distinct_id": "u"}}
        return {
            "basic": client.post(
                "/v1/batch",
                json={"batch": [event("basic")]},
                headers={"authorization": f"Basic {basic}"},
            ),
            "write-key": client.post(
                "/v1/batch", json={"batch": [event("write-key")], "writeKey": key}
            ),
            "message": client.post("/v1/t", json={**event("message"), "writeKey": key}),
            "api-key": client.post("/batch/", json={"batch": [event("api-key")], "api_key": key}),
            "token": client.post("/e/", json=[token]),
            "beacon": client.post(f"/track{in_url}", json=event("beacon")),
            "beacons": client.post(f"/track/batch{in_url}", json=[event("beacons")]),
            "pixel": client.get(f"/pixel.gif{in_url}&event=open&user_id=u&event_id=client-pixel"),
        }

    for refused in ask("nobody").values():
        assert (refused.status_code, refused.json()["code"]) == (401, "unknown_key")
    for refused in ask(guarded.secrets["analyst"]).values():
        assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    answers = ask(secret)
    assert {each.status_code for each in answers.values()} == {200}
    records = read_events(guarded.service.settings)
    sources = {each.event_id: each.headers for each in records if each.key is not None}
    for label in answers:
        assert sources[f"client-{label}"] == (("source", b"website"),), label


def test_without_any_key_a_body_is_read_only_where_it_may_show_one(guarded: Guarded) -> None:
    for path in ("/track", "/track/batch", "/cloudevents"):
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n"
        with socket.create_connection(guarded.service.address, timeout=5) as connection:
            connection.sendall(head.encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")
    for path in ("/v1/batch", "/batch/"):
        answer = guarded.client.post(path, json={"batch": [{"event": "play"}]})
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_key")


def test_without_a_good_key_nothing_is_logged(guarded: Guarded) -> None:
    refused = {
        (401, "missing_key"): guarded.post("keys-none"),
        (401, "unknown_key"): guarded.post("keys-unknown", authorization="Bearer nobody"),
        (403, "missing_scope"): guarded.post("keys-reader", x_write_key=guarded.secrets["analyst"]),
    }
    for (status, code), answer in refused.items():
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert list(answer.json()) == ["status", "code", "message"]
        assert answer.headers["www-authenticate"].startswith('Bearer realm="track"')
        assert answer.headers["access-control-allow-origin"] == "*"
    logged = {each.event_id for each in read_events(guarded.service.settings)}
    assert not {"keys-none", "keys-unknown", "keys-reader"} & logged


def test_it_is_refused_before_the_body_is_read(guarded: Guarded) -> None:
    begun = time.monotonic()
    answer = exchange(guarded.service, b"content-length: 60000\r\nx-write-key: nobody\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    answer = exchange(guarded.service, b"content-length: 99999999\r\n")
    assert answer.startswith(b"HTTP/1.1 401 "), "who may not come in learns of no limit"
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "line",
    [
        b"authorization: Bearer \xff\xfe\xfd",
        b"authorization: Basic \xff\xfe",
        b"authorization: Basic " + b64encode(b"\0\0:\0"),
        b"authorization: Basic " + b64encode(b"no colon"),
        b"authorization: Basic ====",
        b"authorization:",
        b"authorization: Bearer " + b"a" * 30_000,
        b"x-write-key: " + b"\xc3\xa4" * 10_000,
        b"authorization: Bearer a\r\nauthorization: Bearer b",
    ],
)
def test_hostile_headers_are_401(guarded: Guarded, line: bytes) -> None:
    head = line + b"\r\ncontent-length: %d\r\n" % len(EVENT)
    assert exchange(guarded.service, head, EVENT).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("line", [b"authorization: Bearer a\0b", b"x-write-key: a\rb"])
def test_what_no_header_may_hold_is_400(guarded: Guarded, line: bytes) -> None:
    assert exchange(guarded.service, line + b"\r\n").startswith(b"HTTP/1.1 400 ")


def test_health_and_preflights_need_no_key(guarded: Guarded) -> None:
    assert (guarded.service.status("/livez"), guarded.service.status("/readyz")) == (200, 200)
    asking = {"access-control-request-headers": "x-write-key"}
    answer = guarded.client.options("/track", headers=asking)
    assert answer.status_code == 204
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "x-write-key", "x-read-key"} <= set(allowed)
    assert guarded.client.get("/track").status_code == 405


def test_rotation_under_load_refuses_nobody(guarded: Guarded) -> None:
    """Senders go from an old key to a new one; while both are in force either is taken."""
    old = guarded.add("old", Scope.WRITE)
    until(200, guarded, old)
    current, statuses, ended = [old], [], threading.Event()
    used = [""] * 3

    def send(number: int) -> None:
        with httpx.Client(base_url=guarded.service.url, timeout=10) as client:
            while not ended.is_set():
                secret = current[0]
                headers = {"x-write-key": secret}
                statuses.append(client.post("/track", content=EVENT, headers=headers).status_code)
                used[number] = secret

    senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for sender in senders:
        sender.start()
    try:
        for number in range(3):
            name = f"new-{number}"
            until(200, guarded, guarded.add(name, Scope.WRITE))
            before, current[0] = current[0], guarded.secrets[name]
            wait_for(lambda: used == [current[0]] * 3)  # no request carries the old one
            revoke_key(guarded.keys, "old" if number == 0 else f"new-{number - 1}")
            until(401, guarded, before)
        wait_for(lambda: len(statuses) > 50)
    finally:
        ended.set()
        for sender in senders:
            sender.join(20)
    assert set(statuses) == {200}


def test_a_damaged_file_changes_nothing_and_is_said(guarded: Guarded) -> None:
    good = guarded.keys.read_text()
    guarded.keys.write_text("pasted-by-mistake\n")
    try:
        wait_for(lambda: "stay as they were" in guarded.service.log.read_text())
        assert guarded.post(x_write_key=guarded.secrets["website"]).status_code == 200
        assert guarded.post(x_write_key="nobody").status_code == 401
    finally:
        guarded.keys.write_text(good)
    assert "pasted-by-mistake" not in guarded.service.log.read_text()


def test_no_key_and_no_raw_input_reaches_the_log(guarded: Guarded) -> None:
    secret = guarded.secrets["website"]
    hostile = b"\x1b[31mred-\xff"
    for head in (
        b"x-write-key: " + secret.encode() + hostile,
        b"authorization: Bearer " + hostile,
        b"authorization: Bearer a\0" + hostile,
        hostile + b": x",
    ):
        exchange(guarded.service, head + b"\r\ncontent-length: 0\r\n")
    body = b'{"event":"' + hostile + b'","user_id":"u"}'
    good = b"x-write-key: %b\r\ncontent-length: %d\r\n" % (secret.encode(), len(body))
    assert exchange(guarded.service, good, body).startswith(b"HTTP/1.1 400 ")
    guarded.client.get("/%1b%5b31mred", params={"key": secret})
    log = guarded.service.log.read_text()
    assert "red" not in log.replace("Read the keys", "")
    assert not [each for each in guarded.secrets.values() if each in log]
    assert "Traceback" not in log
    assert all(line.isprintable() for line in log.splitlines())


def test_without_keys_none_listens_to_others(migrated: Settings) -> None:
    settings = environment_of(dataclasses.replace(migrated, host="0.0.0.0"))
    refused = [
        subprocess.Popen([TRACK, command], env=settings, stderr=subprocess.PIPE, text=True)
        for command in ("ingest", "query", "serve")
    ]
    for process in refused:
        (sentence,) = process.communicate(timeout=90)[1].splitlines()
        assert process.returncode == 78
        assert "TRACK_OPEN=yes" in sentence


def test_two_processes_hold_a_limit_together(migrated: Settings, tmp_path: Path) -> None:
    settings = dataclasses.replace(
        migrated, home=tmp_path, rate_per_address=1, rate_burst_s=60, proxies="127.0.0.1"
    )
    with start(settings, tmp_path) as first:
        second = subprocess.Popen([TRACK, "ingest"], env=environment_of(first.settings))
        try:
            _wait_for_both(first)
            begun = time.monotonic()
            # Each over a connection of its own, so to either of the two.
            answers = [_post_as(first, b"203.0.113.5") for _ in range(200)]
            taken = [each for each in answers if each.startswith(b"HTTP/1.1 200 ")]
            assert 60 <= len(taken) <= 61 + time.monotonic() - begun
            refused = [each for each in answers if each not in taken][-1]
            assert refused.startswith(b"HTTP/1.1 429 ")
            assert b'"code":"too_many_requests"' in refused
            assert b"retry-after: 1\r\n" in refused
            assert b'ratelimit-policy: "address";q=60;w=60\r\n' in refused
            assert b'ratelimit: "address";r=0;t=' in refused
            assert b'ratelimit: "address";r=59;t=1\r\n' in taken[0]
            assert _post_as(first, b"203.0.113.6").startswith(b"HTTP/1.1 200 ")
        finally:
            second.kill()
            second.wait()


def _post_as(service: Service, client: bytes) -> bytes:
    head = b"x-forwarded-for: %b\r\ncontent-length: %d\r\n" % (client, len(EVENT))
    return exchange(service, head, EVENT)


def _wait_for_both(service: Service) -> None:
    """Wait until two processes listen on the port, and whichever is asked is ready."""
    end = time.monotonic() + 90
    listening = f":{service.settings.port:04X} 00000000:0000 0A"
    while Path("/proc/net/tcp").read_text().count(listening) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    for _ in range(12):
        service.wait_until("/readyz", 200)
