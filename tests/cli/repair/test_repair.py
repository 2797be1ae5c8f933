"""`track repair` on real servers: what is broken on purpose is mended, and the writer goes on.

One pipeline serves all tests; each breaks it and must leave it whole. Partition 1 of `accepted` has
lost the beginning of its log, in which no row ever was.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

import runtime.failpoints
from cli.migrate import migrate
from cli.repair.guard import Guard
from cli.repair.run import FAILPOINTS, repair
from cli.verify import verify
from contracts.rows import encode_row
from contracts.tables import DEDUPLICATED
from runtime.clickhouse import connect, connect_sync
from runtime.kafka.admin import open_admin
from runtime.settings import Settings
from runtime.startup import StartupError
from tests.conftest import Servers, settings_on
from tests.groups import delete_group
from tests.processors.writer.pipeline import Pipeline

POISON = 3
OLD = "2020-01-01"
OF_OLDER_ROWS = ("after_put_aside", "after_taken_out")
# Tried where somebody is forgotten: tests/cli/forgetting/test_honoured.py.
OF_FORGOTTEN_USERS = ("after_gone", "after_forgotten")


class Broken:
    """A pipeline, and ways to break it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.pipeline = Pipeline(settings, folder)
        self.settings = settings
        self.topics = self.pipeline.topics
        self.refused = POISON
        self._lose_beginning()
        self.pipeline.produce(300, poison=POISON)
        self._produce_old()
        self.pipeline.run_until_done()

    def _lose_beginning(self) -> None:
        self.pipeline.produce(0, transactions=1)
        self.pipeline.delete_records(self.topics.accepted, 1, partition=1)

    def _produce_old(self) -> None:
        """Read in a row of history: its bucket lies before everything that can be counted again."""
        event = self.pipeline._event(1, poisoned=False)
        event.timestamp = 1_577_836_860_000
        asyncio.run(_send(self.settings, self.topics.accepted, 1, encode_row(event)))

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.pipeline.clickhouse.command(statement, settings={"mutations_sync": 2})

    def delete(self, table: str, where: str) -> None:
        self.sql(f"ALTER TABLE {table} DELETE WHERE {where}")

    def says_before_it_does(self, capsys: pytest.CaptureFixture[str]) -> str:
        """Run it without --yes; nothing may change."""
        capsys.readouterr()
        before = self.contents()
        assert not repair(self.settings, confirmed=False)
        assert self.contents() == before
        said = capsys.readouterr().out
        assert "Nothing was changed" in said
        return said

    def contents(self) -> list[object]:
        return [
            self.pipeline.rows(f"SELECT count(), sum(cityHash64(*)) FROM {table}")
            for table in DEDUPLICATED
        ]

    def is_whole(self) -> None:
        """Tables and rollups equal the log, and nothing is left over."""
        self.pipeline.assert_tables_equal_log(refused=self.refused)
        tables = "SELECT name FROM system.tables WHERE database = currentDatabase()"
        assert not [name for (name,) in self.pipeline.rows(tables) if name.endswith("_repair")]

    def goes_on(self) -> None:
        """The writer begins, and takes more rows exactly once."""
        self.pipeline.produce(60)
        self.pipeline.run_until_done()
        self.pipeline.assert_tables_equal_log(refused=self.refused)


@pytest.fixture(scope="module")
def made(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    folder = tmp_path_factory.mktemp("repair")
    settings = dataclasses.replace(
        settings_on(servers, folder), partitions=2, session_timeout_ms=6000
    )
    made = Broken(settings, folder)
    yield made
    made.pipeline.close()


@pytest.fixture
def broken(made: Broken) -> Broken:
    """The pipeline, whole: what a test before has left broken is a failure of that test."""
    made.pipeline.assert_tables_equal_log(refused=made.refused)
    return made


async def _send(settings: Settings, topic: str, partition: int, value: bytes) -> None:
    producer = AIOKafkaProducer(**settings.kafka_servers.client_arguments())
    async with producer:
        await producer.send_and_wait(topic, value, partition=partition)


async def _mark(settings: Settings) -> None:
    client = await connect(settings)
    try:
        async with open_admin(settings.kafka_servers) as admin:
            await Guard(settings, client, admin).begin()
    finally:
        await client.close()


def break_rows(broken: Broken) -> None:
    """Every kind of wrong row, and a rollup beside them."""
    accepted = broken.topics.accepted
    broken.delete("events", "kafka_partition = 0 AND kafka_offset % 3 = 0")
    broken.delete("rejected_events", f"kafka_topic = '{accepted}'")
    broken.delete("user_counts_15m", "kafka_partition = 1")
    broken.delete("event_counts_15m", f"bucket < '{OLD}' + INTERVAL 1 DAY")
    broken.sql(
        "INSERT INTO sessions SELECT * FROM sessions WHERE kafka_partition = 1",
        "INSERT INTO events SELECT * REPLACE(1000000 AS kafka_offset) FROM events "
        "WHERE kafka_partition = 0 LIMIT 3",
        "ALTER TABLE events UPDATE log_offset = 99999 "
        "WHERE kafka_partition = 0 AND kafka_offset < 30",
    )


def test_wrong_rows_are_replaced_by_what_the_topic_says(
    broken: Broken, capsys: pytest.CaptureFixture[str]
) -> None:
    break_rows(broken)
    assert "but only" in broken.pipeline.refusal()
    said = broken.says_before_it_does(capsys)
    for part in (
        f"{broken.topics.accepted}/0: events lacks",
        f"{broken.topics.accepted}/1: user_counts_15m differs from the rows",
        f"{broken.topics.accepted}/0: events has other rows than the topic",
        "behind the log's end",
        f"{broken.topics.accepted}/1: event_counts_15m does not count 1 row",
        f"{broken.topics.sessions}/1: sessions has twice",
    ):
        assert part in said
    assert repair(broken.settings, confirmed=True)
    done = capsys.readouterr().out
    assert "wrong rows taken out of sessions" in done
    assert "inserted into events from the topic" in done
    assert "1 row added to older quarters" in done
    broken.is_whole()
    broken.goes_on()
    assert repair(broken.settings, confirmed=True)
    assert "goes on from" not in capsys.readouterr().out


def test_offsets_that_somebody_has_set(broken: Broken) -> None:
    pipeline, topics = broken.pipeline, broken.topics
    pipeline.produce(60)
    pipeline.set_offset(topics.accepted, 0)
    pipeline.set_offset(topics.accepted, _end(pipeline, topics.accepted, 1), partition=1)
    pipeline.set_offset(topics.sessions, 100_000, partition=1)
    pipeline.set_offset(topics.rejected, 1, "mine", partition=1)
    assert not verify(broken.settings)
    assert repair(broken.settings, confirmed=True)
    broken.is_whole()
    broken.goes_on()


def test_a_group_without_offsets(broken: Broken, capsys: pytest.CaptureFixture[str]) -> None:
    delete_group(broken.settings.kafka, f"{broken.settings.namespace}.writer")
    assert "has no offset" in broken.says_before_it_does(capsys)
    assert repair(broken.settings, confirmed=True)
    broken.is_whole()


def test_a_clickhouse_that_was_put_back_to_an_older_backup(broken: Broken) -> None:
    for table in DEDUPLICATED:
        broken.sql(f"CREATE TABLE backup_{table} AS {table}")
        _copy(broken, table, f"backup_{table}")
    broken.pipeline.produce(60, poison=2)
    broken.refused += 2
    broken.pipeline.run_until_done()
    for table in DEDUPLICATED:
        broken.sql(f"TRUNCATE TABLE {table}")
        _copy(broken, f"backup_{table}", table)
        broken.sql(f"DROP TABLE backup_{table} SYNC")
    assert repair(broken.settings, confirmed=True)
    broken.is_whole()
    broken.goes_on()


def test_a_token_that_clickhouse_knows_without_its_rows(broken: Broken) -> None:
    tables = ("events", "sessions", "rejected_events")
    heights = "SELECT kafka_partition, max(kafka_offset) FROM {} GROUP BY kafka_partition"
    before = {table: broken.pipeline.rows(heights.format(table)) for table in tables}
    broken.pipeline.produce(60)
    broken.pipeline.run_until_killed("after_insert:1")
    for table, rows in before.items():
        for partition, height in rows:
            broken.delete(table, f"kafka_partition = {partition} AND kafka_offset > {height}")
    assert repair(broken.settings, confirmed=True)
    # The other partitions only wait for their writer.
    broken.goes_on()


class KilledError(BaseException):
    """In place of the end of the process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def end() -> int:
        raise KilledError(name)

    monkeypatch.setattr(runtime.failpoints, "_armed_at", (name, 1, ""))
    monkeypatch.setattr(runtime.failpoints, "_pass", end)


@pytest.mark.long
def test_a_repair_that_is_cut_off_at_every_point_is_finished_by_the_next(
    broken: Broken, capsys: pytest.CaptureFixture[str]
) -> None:
    break_rows(broken)
    for name in FAILPOINTS:
        if name in (*OF_OLDER_ROWS, *OF_FORGOTTEN_USERS):
            continue
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, name)
            with pytest.raises(KilledError):
                repair(broken.settings, confirmed=True)
        if name == "after_mark":
            assert "has begun and not ended" in broken.pipeline.refusal()
            assert not verify(broken.settings)
            assert "was cut off" in broken.says_before_it_does(capsys)
    assert repair(broken.settings, confirmed=True)
    broken.is_whole()


def test_a_process_that_is_killed_and_started_again(broken: Broken) -> None:
    break_rows(broken)
    assert _track_repair(broken, TRACK_FAILPOINT="after_attach:2").returncode == -signal.SIGKILL
    done = _track_repair(broken)
    assert done.returncode == 0, done.stdout
    assert "✓ events and user_counts_15m" in done.stdout
    broken.is_whole()


def test_it_is_refused_while_a_writer_works(broken: Broken) -> None:
    hurried = dataclasses.replace(broken.settings, session_timeout_ms=1)
    with broken.pipeline.writer() as process:
        for confirmed in (False, True):
            with pytest.raises(StartupError, match=r"The writer works: .* Stop it first"):
                repair(hurried, confirmed=confirmed)
        # As when a writer begins between the look and the marks.
        with pytest.raises(StartupError, match=r"The writer works: .* Stop it first"):
            asyncio.run(_mark(broken.settings))
        assert process.poll() is None
        broken.pipeline.produce(60)
        broken.pipeline.wait_until_done(40, process)
    broken.is_whole()


def test_a_database_made_anew_and_a_log_without_its_beginning(
    broken: Broken, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = broken.pipeline
    broken.sql(f"DROP DATABASE {broken.settings.namespace}")
    migrate(broken.settings)
    pipeline.clickhouse.close()
    pipeline.clickhouse = connect_sync(broken.settings)
    pipeline.delete_records(broken.topics.accepted, 20, partition=1)
    assert "has rows up to offset None" in pipeline.refusal()
    capsys.readouterr()
    assert repair(broken.settings, confirmed=True)
    assert "Kafka no longer has the offsets 0 to 19" in capsys.readouterr().out
    broken.is_whole()
    broken.goes_on()


def test_of_rows_that_kafka_no_longer_has_one_is_kept(
    broken: Broken, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = broken.pipeline
    expected = pipeline.rows("SELECT * FROM sessions ORDER BY kafka_offset")
    pipeline.delete_records(broken.topics.sessions, 20, partition=1)
    _copy(broken, "sessions", "sessions")
    broken.sql("INSERT INTO session_stats_15m SELECT * FROM session_stats_15m")
    assert "sessions has twice" in broken.says_before_it_does(capsys)
    for name in OF_OLDER_ROWS:
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, name)
            with pytest.raises(KilledError):
                repair(broken.settings, confirmed=True)
    # What the rollup has more than the rows, nobody can tell from what was lost.
    assert not repair(broken.settings, confirmed=True)
    assert "of which Kafka no longer has all records" in capsys.readouterr().out
    assert pipeline.rows("SELECT * FROM sessions ORDER BY kafka_offset") == expected


def _copy(broken: Broken, source: str, target: str) -> None:
    parts = broken.pipeline.rows(
        "SELECT DISTINCT partition_id FROM system.parts "
        f"WHERE database = currentDatabase() AND table = '{source}' AND active"
    )
    for (part,) in parts:
        broken.sql(f"ALTER TABLE {target} ATTACH PARTITION ID '{part}' FROM {source}")


def _end(pipeline: Pipeline, topic: str, partition: int) -> int:
    return 1 + max(offset for number, offset in pipeline.read(topic) if number == partition)


def _track_repair(broken: Broken, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "repair", "--yes"],
        env=broken.pipeline.environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
