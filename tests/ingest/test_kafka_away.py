"""Kafka frozen, killed and started again under a running ingest; the broker is the test's own."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from cli.migrate import run_migrations
from deploy.local.kafka import Kafka, start_kafka
from runtime.settings import Settings
from tests.ingest.service import Service, memory_of, read_events, start

if TYPE_CHECKING:
    from tests.conftest import Servers

RECOVERY_S = 40.0
# The contract's five seconds are for a machine that has a moment for whom it answers.
LATE_S = 8.0
KAFKA_WITHIN_S = 180
IN_FLIGHT_BYTES = 16 * 1024 * 1024
LARGE_BODIES = 900
SLACK_BYTES = 16 * 1024 * 1024


class Broker:
    """A broker that can be frozen, killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kafka: Kafka = start_kafka(folder, within_s=KAFKA_WITHIN_S)
        self.address = self._kafka.address

    def freeze(self) -> None:
        """Stop it, and wait until it stands: a signal has to reach each of its threads."""
        pid = self._kafka.running.pid
        os.kill(pid, signal.SIGSTOP)
        while "\nState:\tT" not in Path(f"/proc/{pid}/status").read_text():
            time.sleep(0.001)

    def go_on(self) -> None:
        os.kill(self._kafka.running.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._kafka.kill()

    def start(self) -> None:
        port = int(self.address.rpartition(":")[2])
        self._kafka = start_kafka(self._folder, port, within_s=KAFKA_WITHIN_S)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture(scope="module")
def ingest(
    broker: Broker, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("away")
    settings = dataclasses.replace(
        Settings(),
        home=folder,
        kafka=broker.address,
        clickhouse=servers.clickhouse,
        namespace=f"away_{secrets.token_hex(5)}",
        partitions=2,
        in_flight_bytes=IN_FLIGHT_BYTES,
    )
    asyncio.run(run_migrations(settings))
    with start(settings, folder) as service:
        service.wait_until("/readyz", 200)
        yield service


def post(service: Service, event_id: str, user: str = "u") -> tuple[int, float]:
    """Return the status, after checking the answer, and how many seconds it took."""
    body = {"event": "play", "user_id": user, "event_id": event_id}
    answer = httpx.post(f"{service.url}/track", json=body, timeout=10)
    if answer.status_code != 200:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["message"] == "Failed to log event"
    return answer.status_code, answer.elapsed.total_seconds()


def post_until_logged(service: Service, event_id: str) -> None:
    end = time.monotonic() + RECOVERY_S
    while post(service, event_id)[0] != 200:
        assert time.monotonic() < end, service.log.read_text()
        time.sleep(0.2)


def test_a_frozen_broker(broker: Broker, ingest: Service) -> None:
    assert post(ingest, "before-freeze")[0] == 200
    broker.freeze()
    try:
        status, took = post(ingest, "frozen")
        assert status == 503
        assert 4 < took < LATE_S
        status, took = post(ingest, "refused")
        assert status == 503
        assert took < 3  # where it waits it takes 4.5
        assert ingest.status("/livez") == 200
    finally:
        broker.go_on()
    post_until_logged(ingest, "after-freeze")
    logged = [each.event_id for each in read_events(ingest.settings)]
    assert logged.count("after-freeze") == 1
    assert logged.count("frozen") <= 1  # its outcome was unknown
    assert "refused" not in logged


def test_large_bodies_that_wait_for_a_frozen_broker_stay_within_the_bound(
    broker: Broker, ingest: Service
) -> None:
    """The README's bound: what it takes at rest, three times the setting, 20 kB a connection."""
    before = memory_of(ingest)
    broker.freeze()
    try:
        statuses = asyncio.run(_post_large(ingest, LARGE_BODIES))
        risen = memory_of(ingest, "VmHWM") - before
    finally:
        broker.go_on()
    assert statuses == {503: LARGE_BODIES}
    assert LARGE_BODIES * 60_000 > 3 * IN_FLIGHT_BYTES
    assert risen < 3 * IN_FLIGHT_BYTES + LARGE_BODIES * 20_000 + SLACK_BYTES
    assert risen > IN_FLIGHT_BYTES / 2  # else nothing was tried
    post_until_logged(ingest, "after-large")
    assert ingest.log.read_text().count("Traceback") == 0


async def _post_large(service: Service, count: int) -> Counter[int]:
    """Send large bodies over as many connections, all at once; count the answers."""

    async def send(number: int) -> int:
        reader, writer = await asyncio.open_connection(*service.address)
        body = b'{"event":"play","user_id":"large-%d","x":"%b"}' % (number, b"a" * 60_000)
        writer.write(b"POST /track HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        answer = await asyncio.wait_for(reader.readline(), 20)
        writer.close()
        return int(answer.split()[1])

    return Counter(await asyncio.gather(*map(send, range(count))))


def test_a_killed_broker(broker: Broker, ingest: Service) -> None:
    assert post(ingest, "before-kill")[0] == 200
    broker.kill()
    status, took = post(ingest, "killed")
    assert status == 503
    assert took < LATE_S
    time.sleep(2)
    assert ingest.process.poll() is None
    broker.start()
    post_until_logged(ingest, "after-kill")
    logged = [each.event_id for each in read_events(ingest.settings)]
    assert {"before-kill", "after-kill"} <= set(logged)
    assert all(logged.count(each) == 1 for each in set(logged))
    assert len(ingest.log.read_text().splitlines()) < 300
    assert ingest.end() == 0
