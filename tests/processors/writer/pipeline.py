"""Topics with rows, a writer as a process of its own, and the tables that must agree with the log.

In: settings of a namespace of its own. Out: rows on the topics as the sessionizer would write them,
and what is wrong with the tables. Never: the writer's own code on the side that judges.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata
from msgspec import Raw

from cli.migrate import migrate
from contracts.events import Reason
from contracts.rows import AcceptedRow, SessionRow, encode_row, rejected_row
from contracts.topics import Topics
from runtime.clickhouse import connect_sync
from runtime.settings import Settings

NOW_MS = time.time_ns() // 1_000_000
_EVENTS = ("play", "stop", "pause")
RUN_WRITER = "import sys; from cli.main import track; track(['writer'])"

Rows = dict[tuple[int, int], dict[str, Any]]


class Pipeline:
    """The topics and tables of one namespace, and the writers started on it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.topics = Topics.of(settings.namespace)
        self._folder = folder
        self._random = random.Random(7)
        self._made = 0
        migrate(settings)
        self.clickhouse = connect_sync(settings)

    # --- the log ----------------------------------------------------------------------------------

    def produce(self, rows: int, *, transactions: int = 3, poison: int = 0) -> None:
        """Write rows of all three kinds in transactions, one of them aborted between the others.

        `poison` of the accepted rows hold metadata that ClickHouse refuses.
        """
        asyncio.run(self._produce(rows, transactions, poison))

    async def _produce(self, rows: int, transactions: int, poison: int) -> None:
        self._made += 1
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka,
            transactional_id=f"{self.settings.namespace}-test-{self._made}",
            compression_type="zstd",
        )
        await producer.start()
        try:
            for number in range(transactions):
                await producer.begin_transaction()
                await self._send_rows(producer, rows // transactions, poison if not number else 0)
                await producer.commit_transaction()
                await producer.begin_transaction()
                await self._send_rows(producer, 4, 0)
                await producer.abort_transaction()
        finally:
            await producer.stop()

    async def _send_rows(self, producer: AIOKafkaProducer, rows: int, poison: int) -> None:
        sends = []
        for number in range(rows):
            topic, value = self._value(number, poisoned=number < poison * 10 and number % 10 == 0)
            sends.append(
                await producer.send(topic, value, partition=number % self.settings.partitions)
            )
        await asyncio.gather(*sends)

    def _value(self, number: int, *, poisoned: bool) -> tuple[str, bytes]:
        if number % 10 == 7:
            return self.topics.sessions, encode_row(self._session(number))
        if number % 10 == 9:
            return self.topics.rejected, encode_row(self._rejection(number))
        return self.topics.accepted, encode_row(self._event(number, poisoned=poisoned))

    def _event(self, number: int, *, poisoned: bool) -> AcceptedRow:
        at = NOW_MS - self._random.randrange(7_200_000)
        return AcceptedRow(
            event_id=f"{self._random.getrandbits(128):032x}",
            user_id=f"user-{self._random.randrange(50)}",
            event=self._random.choice(_EVENTS),
            timestamp=at,
            # Some around midnight: the block touches two partitions of the table.
            received_at=NOW_MS - 86_400_000 * (number % 2),
            metadata=Raw(b'{"n":1e400}' if poisoned else b'{"n":%d}' % number),
            source="web",
            log_offset=number,
        )

    def _session(self, number: int) -> SessionRow:
        return SessionRow(
            session_id=f"{self._random.getrandbits(128):032x}",
            user_id=f"user-{number % 50}",
            started_at=NOW_MS - 9000,
            ended_at=NOW_MS - 2000,
            duration_ms=7000,
            attributes=Raw(b'{"song":"a"}'),
            play_id="p",
            stop_id="s",
            received_at=NOW_MS,
            log_offset=number,
        )

    def _rejection(self, number: int) -> Any:
        return rejected_row(
            reason=Reason.INVALID_JSON,
            message="The body is not JSON",
            source="",
            topic=self.topics.events,
            partition=0,
            offset=number,
            received_at=NOW_MS,
            key=b"k",
            value=b"\xff{",
            headers=(),
        )

    def read(self, topic: str) -> Rows:
        """Return what a topic holds, read committed, by partition and offset."""
        return asyncio.run(self._read(topic))

    async def _read(self, topic: str) -> Rows:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=20,  # what is asked next waits behind a fetch at an end
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, p) for p in range(self.settings.partitions)]
            consumer.assign(partitions)
            for where, first in (await consumer.beginning_offsets(partitions)).items():
                consumer.seek(where, first)
            ends = await consumer.end_offsets(partitions)
            found: Rows = {}
            while any([await consumer.position(where) < ends[where] for where in partitions]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        row = json.loads(record.value)
                        found[record.partition, record.offset] = row
            return found
        finally:
            await consumer.stop()

    def set_offset(
        self, topic: str, offset: int, metadata: str = "", *, partition: int = 0
    ) -> None:
        """Set an offset of the writer's group, as an operator's tool would."""
        asyncio.run(self._set_offset(TopicPartition(topic, partition), offset, metadata))

    async def _set_offset(self, where: TopicPartition, offset: int, metadata: str) -> None:
        consumer = AIOKafkaConsumer(
            **self.settings.kafka_servers.client_arguments(),
            group_id=f"{self.settings.namespace}.writer",
            enable_auto_commit=False,
        )
        await consumer.start()
        consumer.assign([where])
        await consumer.commit({where: OffsetAndMetadata(offset, metadata)})
        await consumer.stop()

    def delete_records(self, topic: str, before: int, *, partition: int = 0) -> None:
        """Let the log of a partition begin at an offset, as retention does."""
        asyncio.run(self._delete_records(TopicPartition(topic, partition), before))

    async def _delete_records(self, where: TopicPartition, before: int) -> None:
        admin = AIOKafkaAdminClient(**self.settings.kafka_servers.client_arguments())
        await admin.start()
        await admin.delete_records({where: RecordsToDelete(before)})
        await admin.close()

    # --- the writer -------------------------------------------------------------------------------

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a writer."""
        return {
            **os.environ,
            "TRACK_KAFKA": self.settings.kafka,
            "TRACK_CLICKHOUSE": self.settings.clickhouse,
            "TRACK_NAMESPACE": self.settings.namespace,
            "TRACK_PARTITIONS": str(self.settings.partitions),
            "TRACK_SESSION_TIMEOUT_MS": str(self.settings.session_timeout_ms),
            **more,
        }

    @contextmanager
    def writer(self, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Run a writer while the block lasts, from when it works or has ended.

        What it says ends up in a file and in failures.
        """
        self._made += 1
        path = self._folder / f"writer-{self._made}.log"
        ready = self._folder / f"ready-{self._made}"
        with path.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN_WRITER],
                env=self.environment(TRACK_READY_FILE=str(ready), **environment),
                stderr=output,
                text=True,
            )
            try:
                deadline = time.monotonic() + 150
                while process.poll() is None and not ready.exists():
                    assert time.monotonic() < deadline, "the writer has not begun within 150 s"
                    time.sleep(0.02)
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(20)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
        sys.stderr.write(path.read_text())

    def run_until_killed(self, failpoint: str, *, timeout_s: float = 40) -> None:
        """Run a writer that must be killed at a failpoint."""
        with self.writer(TRACK_FAILPOINT=failpoint) as process:
            assert process.wait(timeout_s) == -signal.SIGKILL, f"{failpoint} was never passed"

    def run_until_done(self, *, timeout_s: float = 40) -> None:
        """Run a writer until it has committed everything, and stop it."""
        with self.writer() as process:
            self.wait_until_done(timeout_s, process)
        assert process.returncode == 0

    def refusal(self, *, timeout_s: float = 30, **environment: str) -> str:
        """Return what a writer says that must end by itself because tables and log do not fit."""
        with self.writer(**environment) as process:
            assert process.wait(timeout_s) == 78
        return (self._folder / f"writer-{self._made}.log").read_text().replace("\n", " ")

    def wait_until_done(self, timeout_s: float, *processes: subprocess.Popen[str]) -> None:
        """Wait until every table holds as many rows as the log gives it."""
        wanted = {
            table: len(self.read(topic))
            for table, topic in (
                ("events", self.topics.accepted),
                ("sessions", self.topics.sessions),
                ("rejected_events", self.topics.rejected),
            )
        }
        deadline = time.monotonic() + timeout_s
        while True:
            total = sum(wanted.values())
            found = {table: self.scalar(f"SELECT count() FROM {table}") for table in wanted}
            if sum(found.values()) >= total:
                return
            for process in processes:
                assert process.poll() is None, f"the writer ended with {process.returncode}"
            assert time.monotonic() < deadline, f"the tables hold {found} of {wanted}"
            time.sleep(0.1)

    # --- the tables -------------------------------------------------------------------------------

    def scalar(self, select: str) -> Any:
        """Return the one value of a SELECT."""
        return self.clickhouse.query(select).result_rows[0][0]

    def rows(self, select: str) -> list[Sequence[Any]]:
        """Return the rows of a SELECT."""
        return list(self.clickhouse.query(select).result_rows)

    def assert_tables_equal_log(self, *, refused: int = 0) -> None:
        """Fail if a table or rollup is not exactly what the log says."""
        events, sessions = self.read(self.topics.accepted), self.read(self.topics.sessions)
        put_aside = self._put_aside(self.topics.accepted)
        assert len(put_aside) == len(set(put_aside)) == refused
        kept = {where: row for where, row in events.items() if where not in set(put_aside)}
        self._assert_rows("events", kept, "event_id")
        self._assert_rows("sessions", sessions, "session_id")
        assert sorted(self._put_aside(self.topics.rejected)) == sorted(
            self.read(self.topics.rejected)
        )
        for table in ("event_counts_15m", "user_counts_15m"):
            self._assert_counts(table, kept)
        assert self.rows("SELECT sum(sessions), sum(duration_ms) FROM session_stats_15m") == [
            (len(sessions), 7000 * len(sessions))
        ]

    def _put_aside(self, topic: str) -> list[tuple[int, int]]:
        select = "SELECT kafka_partition, kafka_offset FROM rejected_events WHERE kafka_topic = "
        return [(row[0], row[1]) for row in self.rows(f"{select}'{topic}'")]

    def _assert_rows(self, table: str, expected: Rows, name: str) -> None:
        found = self.rows(f"SELECT kafka_partition, kafka_offset, {name} FROM {table}")
        assert sorted((row[0], row[1], row[2]) for row in found) == sorted(
            (*where, row[name]) for where, row in expected.items()
        )

    def _assert_counts(self, table: str, expected: Rows) -> None:
        found = self.rows(
            f"SELECT event, kafka_partition, sum(events), max(last_offset) FROM {table} "
            "GROUP BY event, kafka_partition"
        )
        counts: dict[tuple[str, int], int] = collections.Counter(
            (row["event"], partition) for (partition, _), row in expected.items()
        )
        last: dict[tuple[str, int], int] = {}
        for (partition, offset), row in sorted(expected.items()):
            last[row["event"], partition] = offset
        assert {(row[0], row[1]): (row[2], row[3]) for row in found} == {
            key: (counts[key], last[key]) for key in counts
        }

    def close(self) -> None:
        """Drop the database; the topics are small and stay."""
        self.clickhouse.command(f"DROP DATABASE {self.settings.namespace}")
        self.clickhouse.close()
