"""The process: how it starts without Kafka, how it ends, and with which exit code."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from deploy.local.machine import free_port
from runtime.settings import Settings
from tests.environments import environment_of
from tests.ingest.service import TRACK, Service, read_events, start

EVENT = b'{"event":"play","user_id":"u"}'


def test_it_starts_without_kafka_and_says_so(migrated: Settings, tmp_path: Path) -> None:
    away = dataclasses.replace(migrated, kafka=f"127.0.0.1:{free_port()}")
    with start(away, tmp_path) as service:
        service.wait_until("/livez", 200)
        assert service.status("/readyz") == 503
        begun = time.monotonic()
        answer = httpx.post(f"{service.url}/track", content=EVENT)
        assert time.monotonic() - begun < 5
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json() == {
            "status": "error",
            "code": "unavailable",
            "message": "Failed to log event",
        }
        time.sleep(2)
        assert len(service.log.read_text().splitlines()) < 40
        assert service.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_also_where_the_parent_ignored_sigint(
    migrated: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    with start(migrated, tmp_path, ignoring_sigint=True) as service:
        service.wait_until("/readyz", 200)
        assert httpx.post(f"{service.url}/track", content=EVENT).status_code == 200
        assert service.end(number) == 0
        assert "Traceback" not in service.log.read_text()


def test_a_request_under_way_is_finished_while_the_rest_ends(
    migrated: Settings, tmp_path: Path
) -> None:
    body = b'{"event":"play","user_id":"u","event_id":"last"}'
    with start(migrated, tmp_path) as service:
        service.wait_until("/readyz", 200)
        with (
            socket.create_connection(service.address) as slow,
            socket.create_connection(service.address) as idle,
        ):
            slow.sendall(
                b"POST /track HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            idle.settimeout(20)
            assert idle.recv(1) == b""
            slow.sendall(body)
            answer = slow.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert service.process.wait(20) == 0
    assert "last" in {each.event_id for each in read_events(migrated)}


def test_nothing_acknowledged_is_lost_by_an_end_under_load(
    migrated: Settings, tmp_path: Path
) -> None:
    with start(migrated, tmp_path) as service:
        service.wait_until("/readyz", 200)
        acknowledged: list[str] = []
        senders = [
            threading.Thread(target=_send_until_the_end, args=(service, name, acknowledged))
            for name in ("a", "b", "c", "d")
        ]
        for sender in senders:
            sender.start()
        end = time.monotonic() + 30
        while len(acknowledged) <= 50:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert service.end() == 0
        for sender in senders:
            sender.join(20)
    known = set(acknowledged)
    logged = [each.event_id for each in read_events(migrated) if each.event_id in known]
    assert sorted(map(str, logged)) == sorted(acknowledged)


def _send_until_the_end(service: Service, name: str, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=service.url, timeout=10) as client:
        for number in range(1_000_000):
            event_id = f"{service.settings.port}-{name}-{number}"
            body = json.dumps({"event": "play", "user_id": name, "event_id": event_id})
            try:
                answer = client.post("/track", content=body)
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged.append(event_id)


def test_a_log_that_was_not_made_is_a_reason_not_to_run(migrated: Settings, tmp_path: Path) -> None:
    with start(dataclasses.replace(migrated, namespace="never_made"), tmp_path) as service:
        assert service.process.wait(90) == 78
        said = service.log.read_text()
        assert "track migrate" in said
        assert "Traceback" not in said


def test_other_settings_than_the_log_has_are_a_reason_not_to_run(
    migrated: Settings, tmp_path: Path
) -> None:
    with start(dataclasses.replace(migrated, opens="Started"), tmp_path) as service:
        assert service.process.wait(90) == 78
        assert "TRACK_OPENS" in service.log.read_text()


def test_a_busy_port_is_one_sentence(migrated: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        command = [TRACK, "ingest"]
        named = environment_of(dataclasses.replace(migrated, port=port))
        done = subprocess.run(command, env=named, capture_output=True, timeout=90, check=False)
    assert done.returncode == 78
    assert re.fullmatch(rf"Cannot listen on 127\.0\.0\.1 port {port} \(.*\n", done.stderr.decode())


def test_two_processes_share_a_port(migrated: Settings, tmp_path: Path) -> None:
    with start(migrated, tmp_path) as first:
        first.wait_until("/readyz", 200)
        second = subprocess.Popen([TRACK, "ingest"], env=environment_of(first.settings))
        try:
            time.sleep(2)
            assert second.poll() is None
            assert first.end() == 0
            first_gone = Service(first.settings, second, first.log)
            first_gone.wait_until("/readyz", 200)
            assert httpx.post(f"{first.url}/track", content=EVENT).status_code == 200
        finally:
            second.terminate()
            assert second.wait(20) == 0


def test_both_services_on_one_port(migrated: Settings, tmp_path: Path) -> None:
    with start(migrated, tmp_path, "serve") as service:
        service.wait_until("/readyz", 200)
        assert httpx.post(f"{service.url}/track", content=EVENT).status_code == 200
        asked = {"start_date": "2025-01-01", "end_date": "2025-01-02"}
        answer = httpx.get(f"{service.url}/metrics", params=asked)
        assert (answer.status_code, answer.json()["status"]) == (200, "success")
        assert answer.headers["access-control-allow-origin"] == "*"
        wrong = httpx.get(f"{service.url}/sessions")
        assert wrong.json()["message"] == "start_date and end_date are required"
        assert httpx.get(f"{service.url}/nowhere").json()["code"] == "not_found"
        with httpx.Client(base_url=service.url) as client:
            for body in (b"x", b"x" * 1_000_000):  # nobody asked for it
                answer = client.request("GET", "/metrics", params=asked, content=body)
                assert answer.status_code == 200
            for absurd, status in (("&" * 8000, 400), ("a=b&" * 2000, 400), ("x" * 9000, 414)):
                assert client.get(f"/metrics?{absurd}").status_code == status
        assert service.end() == 0


def test_both_are_ready_only_when_both_are(migrated: Settings, tmp_path: Path) -> None:
    without = dataclasses.replace(migrated, clickhouse=f"http://x:y@127.0.0.1:{free_port()}")
    with start(without, tmp_path, "serve") as service:
        service.wait_until("/livez", 200)
        end = time.monotonic() + 20
        while httpx.post(f"{service.url}/track", content=EVENT).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert service.status("/readyz") == 503
        assert service.end() == 0
