"""`track migrate` on real servers: the first run, the second, every cut-off and every refusal."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import hashlib
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

import cli.migrate
from cli.migrate import migrate, run_migrations
from cli.migrations import (
    MIGRATIONS,
    MigrationError,
    apply_migrations,
    create_database,
    read_migrations,
)
from contracts.log import FIRST_POSITION, LOG_KEY, POSITION_KEY, Log, encode_log
from contracts.tables import DEDUPLICATED, deduplication_window
from contracts.topics import Topics
from runtime.clickhouse import AsyncClient, connect
from runtime.kafka.admin import open_admin
from runtime.kafka.consumers import read_latest
from runtime.settings import Settings
from runtime.startup import StartupError, read_kafka_log, read_table_log, require_log, window_of
from tests.benchmarks.programs import beside_python
from tests.environments import environment_of
from tests.topic_settings import set_topic

pytestmark = pytest.mark.anyio

ROW = (
    b'{"event_id":"1","user_id":"u","event":"play","timestamp":1,"received_at":1,"metadata":{},'
    b'"source":"","log_offset":0,"kafka_partition":0,"kafka_offset":0}'
)


@pytest.fixture(autouse=True)
async def _clean(settings: Settings) -> AsyncIterator[None]:
    yield
    await drop_topics(settings)
    async with client_of(settings, "default") as client:
        await client.command(f"DROP DATABASE IF EXISTS {settings.namespace} SYNC")


@asynccontextmanager
async def client_of(settings: Settings, database: str | None = None) -> AsyncIterator[AsyncClient]:
    client = await connect(settings, database=database)
    try:
        yield client
    finally:
        await client.close()


async def drop_topics(settings: Settings, *names: str) -> None:
    topics = Topics.of(settings.namespace)
    wanted = names or (*topics.partitioned, *topics.single)
    async with open_admin(settings.kafka_servers) as admin:
        existing = set(await admin.list_topics())
        await admin.delete_topics([each for each in wanted if each in existing])
        while set(wanted) & set(await admin.list_topics()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def run_sql(settings: Settings, statement: str, data: bytes | None = None) -> Any:
    async with client_of(settings) as client:
        return await client.command(statement, data=data)


async def engine_of(settings: Settings, table: str) -> str:
    return str(
        await run_sql(
            settings,
            "SELECT engine_full FROM system.tables "
            f"WHERE database = currentDatabase() AND name = '{table}'",
        )
    )


async def test_the_first_run_makes_everything_and_the_second_changes_nothing(
    settings: Settings,
) -> None:
    changes = await run_migrations(settings)
    log = await require_log(settings)

    topics = Topics.of(settings.namespace)
    assert f"topic {topics.events} made" in changes
    assert f"log {log.id} made" in changes
    assert (log.opens, log.closes, log.partitions) == ("play", "stop", settings.partitions)
    for partition in range(settings.partitions):
        latest = await read_latest(settings.kafka_servers, topics.state, partition)
        assert latest == {POSITION_KEY: FIRST_POSITION}

    assert await run_migrations(settings) == []
    assert await require_log(settings) == log


async def test_the_command_says_what_it_did(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(migrate, settings)
    assert "migrate: 0001_log applied" in capsys.readouterr().out
    await asyncio.to_thread(migrate, settings)
    assert "nothing to do" in capsys.readouterr().out


class CutOff(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    "step",
    ["create_topics", "create_database", "apply_migrations", "apply_table_settings", "_write_log"],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_run_cut_off_anywhere_is_finished_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    real: Callable[..., Awaitable[Any]] = getattr(cli.migrate, step)

    async def cut(*arguments: Any) -> None:
        if when == "after":
            await real(*arguments)
        raise CutOff

    with monkeypatch.context() as patch:
        patch.setattr(cli.migrate, step, cut)
        with pytest.raises(CutOff):
            await run_migrations(settings)

    await run_migrations(settings)
    await require_log(settings)
    assert await run_migrations(settings) == []


async def test_a_run_cut_off_inside_a_file_is_finished_by_the_next(settings: Settings) -> None:
    async with client_of(settings, "default") as client:
        await create_database(client, settings.namespace)
    rollups = next(each for each in read_migrations() if each.name == "rollups")
    events = next(each for each in read_migrations() if each.name == "events")
    for statement in (*events.statements, *rollups.statements[:1]):
        await run_sql(settings, statement)
    await run_migrations(settings)
    await require_log(settings)


async def test_of_two_runs_at_once_one_makes_the_log(settings: Settings) -> None:
    command, environment = beside_python("track"), environment_of(settings)
    runs = [
        await asyncio.create_subprocess_exec(
            command, "migrate", env=environment, stdout=PIPE, stderr=STDOUT
        )
        for _ in range(2)
    ]
    ends = [(run, (await run.communicate())[0].decode()) for run in runs]
    assert any(run.returncode == 0 for run, _ in ends), ends
    for _, output in ends:
        assert "Traceback" not in output
    assert await run_migrations(settings) == []
    await require_log(settings)


async def test_a_run_that_is_overtaken_says_so_and_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def overtake(_: Settings) -> None:
        async with asyncio.timeout(20):
            other = AIOKafkaProducer(
                bootstrap_servers=settings.kafka,
                transactional_id=f"{settings.namespace}-migrate",
            )
            await other.start()
            await other.stop()

    monkeypatch.setattr("cli.migrate.read_kafka_log", overtake)
    said = ""
    try:
        await asyncio.to_thread(migrate, settings)
    except StartupError as error:
        said = str(error)  # and not the error, which would keep the producer's futures alive
    assert said.startswith("Another `track migrate` began meanwhile")
    await asyncio.sleep(0.2)  # until the other thread has let go of them too
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_log_without_clickhouse_is_noted_there(settings: Settings) -> None:
    await run_migrations(settings)
    log = await require_log(settings)
    await run_sql(settings, "TRUNCATE TABLE log")
    with pytest.raises(StartupError, match=r"table log is empty.*track migrate"):
        await require_log(settings)
    assert await run_migrations(settings) == [f"log {log.id} noted in ClickHouse"]
    assert await require_log(settings) == log


async def test_rows_without_a_log_are_refused(settings: Settings) -> None:
    await run_migrations(settings)
    await run_sql(settings, "INSERT INTO events FORMAT JSONEachRow", ROW)
    await run_sql(settings, "TRUNCATE TABLE log")
    with pytest.raises(StartupError, match="has rows: the database belongs to another log"):
        await run_migrations(settings)


async def test_topics_made_anew_under_an_old_clickhouse_are_refused(settings: Settings) -> None:
    await run_migrations(settings)
    await drop_topics(settings)
    for _ in range(2):
        with pytest.raises(StartupError, match="the topics were made anew"):
            await run_migrations(settings)
    with pytest.raises(StartupError, match="has no log id"):
        await require_log(settings)


async def test_outputs_without_a_log_are_refused(settings: Settings) -> None:
    await run_migrations(settings)
    topics = Topics.of(settings.namespace)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    await producer.send_and_wait(topics.accepted, value=b"{}", partition=1)
    await producer.stop()
    await drop_topics(settings, topics.meta)
    await run_sql(settings, "TRUNCATE TABLE log")
    with pytest.raises(StartupError, match=rf"{topics.accepted} has records"):
        await run_migrations(settings)


async def test_another_log_in_kafka_is_refused(settings: Settings) -> None:
    await run_migrations(settings)
    other = Log("0" * 32, "play", "stop", settings.partitions)
    await write_meta(settings, encode_log(other))
    with pytest.raises(StartupError, match="one of them was made anew"):
        await run_migrations(settings)
    with pytest.raises(StartupError, match="one of them was made anew"):
        await require_log(settings, clickhouse="if_reachable")


async def test_something_else_than_a_log_is_refused(settings: Settings) -> None:
    await run_migrations(settings)
    await write_meta(settings, b'{"id":"x","opens":"play","closes":"stop","partitions":4}')
    with pytest.raises(StartupError, match="something else than a log id"):
        await require_log(settings)


async def write_meta(settings: Settings, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    await producer.send_and_wait(Topics.of(settings.namespace).meta, value, LOG_KEY, partition=0)
    await producer.stop()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"opens": "start"}, "TRACK_OPENS is 'start', but this log was made with 'play'"),
        ({"closes": "end"}, "TRACK_CLOSES is 'end', but this log was made with 'stop'"),
        ({"partitions": 5}, "has 4 partitions; it must have 5"),
    ],
)
async def test_what_belongs_to_the_log_does_not_change(
    settings: Settings, changed: dict[str, Any], sentence: str
) -> None:
    await run_migrations(settings)
    other = dataclasses.replace(settings, **changed)
    with pytest.raises(StartupError, match=sentence):
        await run_migrations(other)
    with pytest.raises(StartupError, match=sentence):
        await require_log(other)


async def test_a_topic_set_wrongly_is_named(settings: Settings) -> None:
    await run_migrations(settings)
    topic = Topics.of(settings.namespace).state
    await set_topic(settings.kafka_servers, topic, {"cleanup.policy": "delete"})
    sentence = rf"{topic}: cleanup.policy is 'delete'; it must be 'compact'"
    with pytest.raises(StartupError, match=sentence):
        await run_migrations(settings)
    with pytest.raises(StartupError, match=sentence):
        await require_log(settings)


async def test_a_missing_topic_is_named(settings: Settings) -> None:
    with pytest.raises(StartupError, match=r"is not there.*track migrate"):
        await require_log(settings)


async def test_more_copies_than_brokers_are_refused_at_once(settings: Settings) -> None:
    with pytest.raises(StartupError, match="InvalidReplicationFactor"):
        await run_migrations(dataclasses.replace(settings, replication=99), wait_s=30)


async def test_a_server_that_is_away_is_waited_for_and_named(settings: Settings) -> None:
    away = dataclasses.replace(settings, kafka="127.0.0.1:1")
    with pytest.raises(StartupError, match=r"Kafka \(127\.0\.0\.1:1\) does not answer"):
        await run_migrations(away, wait_s=1)
    with pytest.raises(StartupError, match=r"Kafka .* does not answer"):
        await require_log(away)

    await run_migrations(settings)  # topics may take longer to be made than this second
    away = dataclasses.replace(settings, clickhouse="http://u:p@127.0.0.1:1")
    with pytest.raises(StartupError, match=r"ClickHouse .* does not work"):
        await run_migrations(away, wait_s=1)
    with pytest.raises(StartupError, match="ClickHouse does not answer"):
        await require_log(away)
    assert await require_log(away, clickhouse="if_reachable") == await require_log(settings)


async def test_a_user_that_is_refused_is_not_waited_for(settings: Settings) -> None:
    address = settings.clickhouse.rpartition("@")[2]
    wrong = dataclasses.replace(settings, clickhouse=f"http://nobody:x@{address}")
    with pytest.raises(StartupError, match="AUTHENTICATION_FAILED"):
        await run_migrations(wrong, wait_s=60)


async def test_retention_follows_the_settings(settings: Settings) -> None:
    await run_migrations(settings)
    assert "TTL toDateTime(received_at) + toIntervalDay(30)" in await engine_of(settings, "events")
    assert "ttl_only_drop_parts = 1" in await engine_of(settings, "events")
    assert "TTL last_received_at + toIntervalMonth(25)" in await engine_of(
        settings, "user_counts_15m"
    )
    for table in ("sessions", "event_counts_15m", "session_stats_15m"):
        assert "TTL" not in await engine_of(settings, table)

    changed = dataclasses.replace(
        settings, events_days=7, sessions_days=400, counts_days=500, user_counts_months=0
    )
    assert len(await run_migrations(changed)) == 7
    assert "TTL toDateTime(received_at) + toIntervalDay(7)" in await engine_of(settings, "events")
    assert "TTL last_received_at + toIntervalDay(400)" in await engine_of(
        settings, "session_stats_15m"
    )
    assert "TTL" not in await engine_of(settings, "user_counts_15m")
    assert await run_migrations(changed) == []
    assert len(await run_migrations(settings)) == 7
    assert "TTL" not in await engine_of(settings, "event_counts_15m")


async def test_deduplication_windows_follow_the_settings(settings: Settings) -> None:
    await run_migrations(settings)
    needed = deduplication_window(settings.partitions, settings.inserts_per_second)
    assert needed == 2 * settings.partitions * settings.inserts_per_second * 3600
    for table in DEDUPLICATED:
        assert window_of(await engine_of(settings, table)) == needed

    faster = dataclasses.replace(settings, inserts_per_second=2 * settings.inserts_per_second)
    with pytest.raises(StartupError, match=rf"table events remembers {needed} .* {2 * needed}"):
        await require_log(faster)
    assert len(await run_migrations(faster)) == len(DEDUPLICATED)
    await require_log(faster)


async def test_a_changed_file_is_refused(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "clickhouse"
    shutil.copytree(MIGRATIONS, folder)
    async with client_of(settings, "default") as client:
        await create_database(client, settings.namespace)
    async with client_of(settings) as client:
        assert len(await apply_migrations(client, read_migrations(folder))) == len(
            list(folder.glob("*.sql"))
        )
        with (folder / "0002_events.sql").open("a") as file:
            file.write("-- changed\n")
        with pytest.raises(MigrationError, match=r"0002_events\.sql was applied and has changed"):
            await apply_migrations(client, read_migrations(folder))
        (folder / "0002_events.sql").unlink()
        with pytest.raises(MigrationError, match="migration 0002, which this version does not"):
            await apply_migrations(client, read_migrations(folder))


async def test_files_are_numbered_and_named(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT ';';\n\n-- a remark\nSELECT 2;\n")
    (first,) = read_migrations(tmp_path)
    assert (first.number, first.name) == (1, "a")
    assert first.statements == ("SELECT ';'", "-- a remark\nSELECT 2")
    assert first.checksum == hashlib.sha256((tmp_path / "0001_a.sql").read_bytes()).hexdigest()
    (tmp_path / "0001_b.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="same number"):
        read_migrations(tmp_path)
    (tmp_path / "x.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=r"x\.sql must be named"):
        read_migrations(tmp_path)


async def test_the_logs_can_be_read_one_by_one(settings: Settings) -> None:
    await run_migrations(settings)
    async with client_of(settings) as client:
        assert await read_table_log(client) == await read_kafka_log(settings)
        await client.command(
            "INSERT INTO log (id, opens, closes, partitions) VALUES ('x', 'a', 'b', 1)"
        )
        with pytest.raises(StartupError, match="several logs"):
            await read_table_log(client)
