"""The service as people start it, `track ingest`, and what it has written into Kafka.

In: settings. Out: a process that answers, and the records of a topic. Never: a process left behind.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.topics import Topics
from runtime.http.tls import trusting
from runtime.settings import Settings
from tests.environments import environment_of
from tests.ports import free_ports

TRACK = str(Path(sys.executable).with_name("track"))
READY_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Service:
    """A process of ingest, and where it listens."""

    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        scheme = "https" if self.settings.tls_certificate else "http"
        return f"{scheme}://127.0.0.1:{self.settings.port}"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.settings.port

    def status(self, path: str) -> int:
        """Return the status of a GET, 0 where nobody listens."""
        try:
            return httpx.get(self.url + path, timeout=5, verify=self._trusted()).status_code
        except httpx.TransportError:
            return 0

    def _trusted(self) -> ssl.SSLContext | bool:
        file = self.settings.tls_certificate
        return trusting(Path(file)) if file else False  # plain: nothing is to be trusted

    def wait_until(self, path: str, status: int, seconds: float = READY_SECONDS) -> None:
        end = time.monotonic() + seconds
        while self.status(path) != status:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, f"{path} is not {status}: {self.log.read_text()}"
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def start(
    settings: Settings, folder: Path, command: str = "ingest", *, ignoring_sigint: bool = False
) -> Iterator[Service]:
    """Start a service on a free port; the end of the context kills what is left of it."""
    settings = dataclasses.replace(settings, port=free_ports())
    log = folder / f"{command}-{settings.port}.log"
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignoring_sigint else None
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [TRACK, command], env=environment_of(settings), stdout=output, stderr=output
            )
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
    try:
        yield Service(settings, process, log)
    finally:
        process.kill()
        process.wait()


def memory_of(service: Service, which: str = "VmRSS") -> int:
    """Return the resident bytes of a process, now or (VmHWM) at most until now."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{which}:")]
    return int(line.split()[1]) * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the topic `events`."""

    partition: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def fields(self) -> Mapping[str, object]:
        fields: dict[str, object] = json.loads(self.value)
        return fields

    @property
    def event_id(self) -> object:
        """Return the id in the value; None where it has none, or is no event at all."""
        try:
            fields = json.loads(self.value)
        except ValueError:
            return None
        return fields.get("event_id") if isinstance(fields, dict) else None


# What was read before, and where to go on: a module's topic is asked for again and again.
_Known = tuple[list[Record], dict[TopicPartition, int]]
_known: dict[tuple[str, str], _Known] = {}


def read_events(settings: Settings) -> list[Record]:
    """Return all records of the topic `events`; those of a partition are in order."""
    where = settings.kafka, Topics.of(settings.namespace).events
    known, begins = _known.get(where, ([], {}))
    more, ends = asyncio.run(_read(*where, begins))
    _known[where] = [*known, *more], ends
    return [*known, *more]


async def _read(servers: str, topic: str, begins: Mapping[TopicPartition, int]) -> _Known:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="none", enable_auto_commit=False
    )
    await consumer.start()
    try:
        await consumer._client._wait_on_metadata(topic)
        places = [TopicPartition(topic, each) for each in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, begins.get(place, 0))
        records = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += [
                    Record(each.partition, each.key, each.value, each.headers) for each in batch
                ]
        return records, {place: await consumer.position(place) for place in places}
    finally:
        await consumer.stop()
