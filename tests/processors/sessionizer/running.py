"""A sessionizer as a process of its own, and what must stand on its topics.

In: settings of a namespace of its own. Out: a process; the records of a topic; the outputs that the
pure step has for a log. Never: Faust or the service's own reader to say what is right.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.rows import AcceptedRow, RejectedRow, SessionRow, encode_row
from contracts.topics import Partitioner, Topics
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Partition, Pipeline
from processors.sessionizer.position import POSITION_KEY, Position, decode_position
from runtime.kafka.consumers import open_consumer
from runtime.kafka.fetched_records import allow_any_header_name
from runtime.settings import Settings
from tests.environments import environment_of

TRACK = str(Path(sys.executable).with_name("track"))
SESSION_TIMEOUT_MS = 6_000  # the least that a broker grants
_DONE_WITHIN_S = 90.0
_SEEN_WITHIN_S = 30.0


class Sessionizer:
    """A process; its words go to a file."""

    def __init__(
        self,
        settings: Settings,
        output: Path,
        command: Sequence[str] = (TRACK, "sessionizer"),
        **environment: str,
    ) -> None:
        self.output = output
        with output.open("ab") as file:
            self.process = subprocess.Popen(
                command,
                env={**_environment(settings), **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait(self, seconds: float = 60.0) -> int:
        """Wait until it ends; return how."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise

    def words(self) -> str:
        """What it has said."""
        return self.output.read_text()


@contextmanager
def sessionizer(settings: Settings, output: Path, **environment: str) -> Iterator[Sessionizer]:
    """Run a sessionizer for a while."""
    running = Sessionizer(settings, output, **environment)
    try:
        yield running
    finally:
        running.stop()


def _environment(settings: Settings) -> dict[str, str]:
    return environment_of(replace(settings, session_timeout_ms=SESSION_TIMEOUT_MS))


async def read_topic(settings: Settings, topic: str) -> dict[int, list[Any]]:
    """Return the committed records of a topic, by partition, in order."""
    allow_any_header_name()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=20,  # what is asked next waits behind a fetch at an end
    )
    await consumer.start()
    try:
        records: dict[int, list[Any]] = {}
        for number in range(settings.partitions):
            source = TopicPartition(topic, number)
            consumer.assign([source])
            consumer.seek(source, (await consumer.beginning_offsets([source]))[source])
            end = (await consumer.end_offsets([source]))[source]
            records[number] = []
            while await consumer.position(source) < end:
                for fetched in (await consumer.getmany(source, timeout_ms=50)).values():
                    records[number] += fetched
        return records
    finally:
        await consumer.stop()


async def wait_until_committed_is_seen(
    settings: Settings, places: Sequence[TopicPartition]
) -> None:
    """Wait until readers see what was committed: a commit is answered a moment before that."""
    everything = open_consumer(settings.kafka_servers, uncommitted=True)
    async with everything as all_of_it, open_consumer(settings.kafka_servers) as committed:
        async with asyncio.timeout(_SEEN_WITHIN_S):
            while await all_of_it.end_offsets(places) != await committed.end_offsets(places):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def wait_until_processed(
    settings: Settings, alive: Callable[[], None] = lambda: None
) -> None:
    """Wait until every partition's position stands behind its last record."""
    topics = Topics.of(settings.namespace)
    deadline = time.monotonic() + _DONE_WITHIN_S
    while True:
        alive()
        states = await read_topic(settings, topics.state)
        events = await read_topic(settings, topics.events)
        lasts = {number: rows[-1].offset if rows else -1 for number, rows in events.items()}
        if all(position_of(rows).offset >= lasts[number] for number, rows in states.items()):
            return
        assert time.monotonic() < deadline, "the sessionizer does not get to the end of the log"
        await asyncio.sleep(0.3)


def position_of(rows: list[Any]) -> Position:
    """Return the position that a partition of `state` holds."""
    return decode_position([row.value for row in rows if row.key == POSITION_KEY][-1])


class Expected:
    """What the pure step writes for a log: values by topic and partition, in order."""

    def __init__(self, settings: Settings, log_id: str, events: Mapping[int, list[Any]]) -> None:
        self.accepted: dict[int, list[bytes]] = defaultdict(list)
        self.sessions: dict[int, list[bytes]] = defaultdict(list)
        self.rejected: dict[int, list[bytes]] = defaultdict(list)
        self.readdressed: list[bytes] = []
        self.users: dict[int, dict[str, bytes]] = {}
        topic = Topics.of(settings.namespace).events
        partitioner = Partitioner(settings.partitions)
        pipeline = Pipeline(log_id, topic, partitioner, PairingRules(), settings.duplicate_window)
        self.counts = []
        for self._number, records in events.items():
            partition = Partition(self._number, pipeline)
            for record in records:
                partition.step(record, self)
            partition.take_changes()
            self.users[self._number] = partition.users
            self.counts.append(partition.counts)

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        """Keep an accepted event."""
        self.accepted[self._number].append(encode_row(row))

    def complete(self, user: bytes, row: SessionRow) -> None:
        """Keep a session."""
        self.sessions[self._number].append(encode_row(row))

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        """Keep a rejection."""
        self.rejected[self._number].append(encode_row(row))

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """Keep what was moved."""
        self.readdressed.append(value)
