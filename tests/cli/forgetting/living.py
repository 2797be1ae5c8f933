"""A pipeline at work: a sessionizer and a writer that are started again, and all that is kept.

In: settings of a namespace of its own. Out: events on the log, the command as it is typed, the
contents of every table and topic. Never: the command's own code on the side that judges.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from click.testing import CliRunner, Result

from cli.main import track
from cli.migrate import run_migrations
from contracts.log import Log
from contracts.topics import Partitioner, Topics
from runtime.clickhouse import connect_sync
from runtime.failpoints import FAILPOINT
from runtime.settings import Settings
from runtime.startup import require_log
from tests.environments import environment_of
from tests.processors.sessionizer.running import (
    read_topic,
    wait_until_committed_is_seen,
    wait_until_processed,
)

TRACK = str(Path(sys.executable).with_name("track"))
EXIT_TO_BE_STARTED_AGAIN = 70
TABLES = ("events", "sessions", "rejected_events")
# How the tables hang together with the topics.
ROWS = {"events": "accepted", "sessions": "sessions", "rejected_events": "rejected"}
_DONE_WITHIN_S = 60.0


def _user_in(value: str) -> object:
    try:
        return json.loads(value)["user_id"]
    except ValueError:
        return None


class Service:
    """A process that is started again when it asks for it, as a supervisor does."""

    def __init__(self, name: str, settings: Settings, folder: Path) -> None:
        self.starts = 0
        self.ended_with: int | None = None
        self._name, self._settings, self._folder = name, settings, folder
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._stopping = True
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def require_alive(self) -> None:
        """Fail if it has ended for good."""
        assert self.ended_with is None, f"{self._name} ended with {self.ended_with}: {self.words}"

    @property
    def words(self) -> str:
        """What it has said."""
        return (self._folder / f"{self._name}.log").read_text()

    def _run(self) -> None:
        while not self._stopping:
            with (self._folder / f"{self._name}.log").open("ab") as output:
                self._process = subprocess.Popen(
                    [TRACK, self._name],
                    env=environment_of(self._settings),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            self.starts += 1
            if self._stopping:  # asked while it was being started
                self._process.terminate()
            code = self._process.wait()
            if not self._stopping and code != EXIT_TO_BE_STARTED_AGAIN:
                self.ended_with = code
                return


class Living:
    """One pipeline; nothing works in it before `working`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.topics = Topics.of(settings.namespace)
        self.folder = folder
        self.services: list[Service] = []
        self.counted: dict[str, list[tuple[Any, ...]]] = {}  # what a test has noted of all users
        asyncio.run(run_migrations(settings))
        self.log: Log = asyncio.run(require_log(settings))
        self.clickhouse = connect_sync(settings)

    # --- what comes in ----------------------------------------------------------------------------

    def send(self, *events: Mapping[str, Any] | bytes, key: bytes | None = None) -> None:
        """Write events to the log, each under its user's id, or the key that is given."""
        asyncio.run(self._send(events, key))

    async def _send(self, events: tuple[Mapping[str, Any] | bytes, ...], key: bytes | None) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.settings.kafka) as producer:
            sent = []
            for each in events:
                if isinstance(each, bytes):
                    value, under = each, key
                else:
                    value, under = json.dumps(each).encode(), str(each["user_id"]).encode()
                sent.append(await producer.send(self.topics.events, value, key or under))
            await asyncio.gather(*sent)

    # --- who works --------------------------------------------------------------------------------

    @contextmanager
    def working(self, *names: str) -> Iterator[None]:
        """Let a sessionizer and a writer work, or one of them, started again when they ask."""
        self.services = [
            Service(name, self.settings, self.folder) for name in names or ("sessionizer", "writer")
        ]
        try:
            yield
            self.require_alive()
        finally:
            for each in self.services:
                each.stop()
            self.services = []

    def require_alive(self) -> None:
        """Fail if a service has ended for good."""
        for each in self.services:
            each.require_alive()

    def wait_until_done(self) -> None:
        """Wait until everything sent is processed, and every record has its row or went."""
        asyncio.run(wait_until_processed(self.settings, self.require_alive))
        places = [
            TopicPartition(topic, number)
            for topic in (self.topics.accepted, self.topics.sessions, self.topics.rejected)
            for number in range(self.settings.partitions)
        ]
        asyncio.run(wait_until_committed_is_seen(self.settings, places))
        deadline = time.monotonic() + _DONE_WITHIN_S
        while (lacking := self.lacking()) and time.monotonic() < deadline:
            self.require_alive()
            time.sleep(0.1)
        assert lacking == {}

    def lacking(self) -> dict[str, int]:
        """Return how many records of each topic have neither a row nor anything left of one."""
        lacking = {}
        for table, name in ROWS.items():
            topic = getattr(self.topics, name)
            records = {
                (number, record.offset)
                for number, rows in asyncio.run(read_topic(self.settings, topic)).items()
                for record in rows
            }
            found = set(self.rows(f"SELECT kafka_partition, kafka_offset FROM {table}"))
            found |= set(self.rows(f"SELECT kafka_partition, kafka_offset FROM {table}_forgotten"))
            if records - found:
                lacking[table] = len(records - found)
        return lacking

    # --- commands ---------------------------------------------------------------------------------

    def run(self, *arguments: str) -> Result:
        """Run a command as it is typed."""
        environment: dict[str, str | None] = {**environment_of(self.settings), FAILPOINT: None}
        return CliRunner().invoke(track, list(arguments), env=environment)

    def say(self, *arguments: str, code: int = 0) -> str:
        """Run a command that must end like this; return what it says."""
        result = self.run(*arguments)
        assert result.exit_code == code, result.output
        return result.output

    def start_process(self, *arguments: str, failpoint: str = "") -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        return subprocess.Popen(
            [TRACK, *arguments],
            env={**environment_of(self.settings), FAILPOINT: failpoint},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run_process(self, *arguments: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own."""
        process = self.start_process(*arguments, failpoint=failpoint)
        said, _ = process.communicate(timeout=100)
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    # --- what is kept -----------------------------------------------------------------------------

    def rows(self, select: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        return [tuple(row) for row in self.clickhouse.query(select, parameters).result_rows]

    def sql(self, *statements: str) -> None:
        """Change something by hand, and wait for it."""
        for each in statements:
            self.clickhouse.command(each, settings={"mutations_sync": 2})

    def tables(self) -> list[str]:
        """Return every table that keeps something, in the order of their names."""
        select = (
            "SELECT name FROM system.tables WHERE database = currentDatabase() "
            "AND engine LIKE '%MergeTree' ORDER BY name"
        )
        return [name for (name,) in self.rows(select)]

    def traces_of(self, text: str) -> list[str]:
        """Return where a text is found: in every column of every table, and among the mutations."""
        found = []
        for table in self.tables():
            for name, kind in self.rows(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
                "AND table = {table:String}",
                table=table,
            ):
                if "AggregateFunction(uniq" in kind or "AggregateFunction(quantiles" in kind:
                    continue  # states: hashes and sums
                select = (
                    f"SELECT count() FROM {table} WHERE "
                    f"positionUTF8(toString(`{name}`), {{text:String}}) > 0"
                )
                if self.rows(select, text=text)[0][0]:
                    found.append(f"{table}.{name}")
        select = (
            "SELECT count() FROM system.mutations WHERE database = currentDatabase() "
            "AND positionUTF8(command, {text:String}) > 0"
        )
        if self.rows(select, text=text)[0][0]:
            found.append("system.mutations")
        for topic in (self.topics.state, self.topics.replayed, self.topics.forgotten):
            if any(
                text.encode() in key or text.encode() in value
                for key, value in self.latest(topic).items()
            ):
                found.append(topic)
        return found

    def latest(self, topic: str) -> dict[bytes, bytes]:
        """Return what a compacted topic says: the last value of every key that has one."""
        said: dict[bytes, bytes | None] = {}
        settings = self.settings
        if topic not in self.topics.partitioned:
            import dataclasses

            settings = dataclasses.replace(settings, partitions=1)
        for records in asyncio.run(read_topic(settings, topic)).values():
            said.update((record.key, record.value) for record in records)
        return {key: value for key, value in said.items() if value is not None}

    def of_others(self, user_id: str) -> dict[str, list[tuple[Any, ...]]]:
        """Return all rows that are of other users, and what is counted of them."""
        selects = {
            "events": "SELECT * EXCEPT (metadata), toString(metadata) FROM events "
            "WHERE user_id != {user:String} ORDER BY kafka_partition, kafka_offset",
            "sessions": "SELECT * EXCEPT (attributes), toString(attributes) FROM sessions "
            "WHERE user_id != {user:String} ORDER BY kafka_partition, kafka_offset",
            "user_counts": "SELECT * FROM user_counts WHERE user_id != {user:String} "
            "ORDER BY user_id, bucket, event",
        }
        found = {name: self.rows(select, user=user_id) for name, select in selects.items()}
        rejected = (
            "SELECT *, key, value FROM rejected_events ORDER BY kafka_partition, kafka_offset"
        )
        found["rejected_events"] = [
            row for row in self.rows(rejected) if user_id not in (row[-2], _user_in(row[-1]))
        ]
        return found

    def of_all(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return what is counted of all users."""
        selects = (
            "SELECT bucket, event, events, users FROM event_counts ORDER BY bucket, event",
            "SELECT bucket, sessions, duration_ms, shortest_ms, longest_ms, median_ms, users "
            "FROM session_stats ORDER BY bucket",
        )
        return {select: self.rows(select) for select in selects}

    def counts_of(self, user_id: str) -> dict[str, int]:
        """Return how often the user's events are counted, by their names."""
        counts: dict[str, int] = defaultdict(int)
        select = "SELECT event, events FROM user_counts WHERE user_id = {user:String}"
        for event, number in self.rows(select, user=user_id):
            counts[event] += number
        return dict(counts)

    def partition_of(self, user_id: str) -> int:
        """Return the user's partition."""
        return Partitioner(self.settings.partitions).partition_of(user_id)

    def close(self) -> None:
        """Drop the database; the topics are small and stay."""
        self.clickhouse.command(f"DROP DATABASE {self.settings.namespace}")
        self.clickhouse.close()
