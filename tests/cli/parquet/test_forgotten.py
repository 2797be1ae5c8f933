"""Users who are forgotten, in files and in what is imported: they stay out, and nobody else."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from cli.forgetting.clearing import clear_tables
from cli.parquet.comparison import compare_export
from cli.parquet.export import export
from cli.parquet.loading import import_days
from contracts.forgetting import Mark, Marks, encode_mark, user_key
from contracts.topics import Partitioner, Topics
from runtime.clickhouse import connect
from runtime.startup import StartupError
from tests.cli.parquet.events import Tables, day_before, files_of

DAY, OTHER_DAY = day_before(2), day_before(1)
MARKED_TO = 1000


@pytest.fixture
def user_id() -> str:
    """Somebody whom no other test has forgotten."""
    return f"ada-{secrets.token_hex(4)}'"


def insert_rows_of(tables: Tables, user_id: str, offsets: range, behind: int = 0) -> None:
    """Insert rows of a user among others: before the mark to come, and so many behind it."""
    partition = Partitioner(tables.settings.partitions).partition_of(user_id)
    tables.insert_rows(
        DAY,
        (
            {
                "user_id": user_id,
                "kafka_partition": partition,
                "kafka_offset": 2 * offset + 1,
                "log_offset": offset if number >= behind else MARKED_TO + offset,
                "metadata": {"whose": user_id},
            }
            for number, offset in enumerate(offsets)
        ),
    )


def log_of(tables: Tables) -> str:
    """Return the id of the log."""
    return str(tables.scalar("SELECT id FROM log"))


def marks_of(tables: Tables, user_id: str) -> Marks:
    """Return the mark that a user gets."""
    partition = Partitioner(tables.settings.partitions).partition_of(user_id)
    log = log_of(tables)
    mark = Mark(partition, (MARKED_TO,) * tables.settings.partitions, MARKED_TO, 1)
    return Marks(log, {user_key(log, user_id): mark})


def mark(tables: Tables, user_id: str) -> None:
    """Write the mark of a user, and leave all tables as they are."""

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=tables.settings.kafka) as producer:
            for key, value in marks_of(tables, user_id).by_key.items():
                topic = Topics.of(tables.settings.namespace).forgotten
                await producer.send_and_wait(topic, encode_mark(value), key.encode(), partition=0)

    asyncio.run(write())


def forget(tables: Tables, user_id: str) -> dict[str, int]:
    """Forget a user as the command does once the writer is done; return what went."""

    async def clear() -> dict[str, int]:
        client = await connect(tables.settings)
        try:
            cleared = clear_tables(client, tables.settings.namespace, marks_of(tables, user_id))
            return {table: gone async for table, gone in cleared}
        finally:
            await client.close()

    mark(tables, user_id)
    return asyncio.run(clear())


def said_by_import(
    tables: Tables, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[str, list[str]]:
    """Import; return what it says, and the parts that the table has then."""
    capsys.readouterr()
    import_days(tables.settings, folder)
    return capsys.readouterr().out, tables.parts("imported_events")


def differences(tables: Tables, folder: Path) -> list[str]:
    """Return what `track verify --export` complains about; of emptied `events` nothing."""
    compared = compare_export(tables.settings, folder, log_of(tables))
    are_there = tables.count("events") > 0
    return [
        sentence
        for each in compared
        for sentence in each.differences
        if are_there or " and events:" not in each.what
    ]


def rows_of(tables: Tables, user_id: str) -> list[int]:
    """Return how many rows of a user are imported, and are shown."""
    return [
        sum(each == user_id for each in tables.column(table, "user_id"))
        for table in ("imported_events", "all_events")
    ]


def test_an_import_leaves_out_whom_it_must_and_nobody_else(
    tables: Tables, user_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.insert(DAY, 40)
    insert_rows_of(tables, user_id, range(6), behind=2)
    tables.insert(OTHER_DAY, 5)
    assert export(tables.settings, tmp_path, rows_a_file=15)
    before = [row for row in tables.rows("events", DAY) if row[3] != user_id]
    forget(tables, user_id)
    assert differences(tables, tmp_path) == []
    tables.forget_events()
    said, parts = said_by_import(tables, tmp_path, capsys)
    assert f"✓ {DAY}: 42 events imported, without 4 of users who are forgotten" in said
    assert f"✓ {OTHER_DAY}: 5 events imported\n" in said
    assert rows_of(tables, user_id) == [2, 2]
    assert [row for row in tables.rows("all_events", DAY) if row[3] != user_id] == before
    assert differences(tables, tmp_path) == []
    said, now = said_by_import(tables, tmp_path, capsys)
    assert "0 days imported now, 2 were there already" in said
    assert now == parts


def test_who_is_forgotten_after_the_import_goes_and_the_day_is_not_imported_again(
    tables: Tables, user_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.insert(DAY, 40)
    insert_rows_of(tables, user_id, range(6))
    assert export(tables.settings, tmp_path)
    import_days(tables.settings, tmp_path)
    gone = forget(tables, user_id)
    assert (gone["events"], gone["imported_events"]) == (6, 6)
    assert rows_of(tables, user_id) == [0, 0]
    assert tables.count("all_events") == tables.count("events") == 40
    assert tables.scalar("SELECT max(is_shown) FROM imported_days") is False
    assert differences(tables, tmp_path) == []
    said, _ = said_by_import(tables, tmp_path, capsys)
    assert "0 days imported now" in said
    assert forget(tables, user_id)["imported_events"] == 0
    tables.forget_events()
    assert tables.count("all_events") == tables.count("imported_events") == 40
    assert differences(tables, tmp_path) == []


@pytest.mark.parametrize("is_forgotten_first", [True, False])
def test_a_day_that_lacks_other_rows_is_said_and_imported_again(
    tables: Tables,
    user_id: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    is_forgotten_first: bool,
) -> None:
    tables.insert(DAY, 40)
    insert_rows_of(tables, user_id, range(6))
    assert export(tables.settings, tmp_path)
    if is_forgotten_first:
        forget(tables, user_id)
    import_days(tables.settings, tmp_path)
    forget(tables, user_id)
    tables.clickhouse.command(
        "ALTER TABLE imported_events DELETE WHERE event_id LIKE '%-17' SETTINGS mutations_sync = 2"
    )
    assert len(differences(tables, tmp_path)) == 1
    said, _ = said_by_import(tables, tmp_path, capsys)
    assert "40 events imported, without 6 of users who are forgotten" in said
    assert tables.count("imported_events") == tables.count("all_events") == 40
    assert differences(tables, tmp_path) == []


def test_a_day_that_was_exported_again_between_two_who_are_forgotten(
    tables: Tables, user_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = f"second-{user_id}"
    tables.insert(DAY, 40)
    insert_rows_of(tables, user_id, range(6))
    insert_rows_of(tables, second, range(100, 105))
    assert export(tables.settings, tmp_path)
    import_days(tables.settings, tmp_path)
    forget(tables, user_id)
    older = files_of(tmp_path)
    assert export(tables.settings, tmp_path)
    assert files_of(tmp_path) != older
    for name in files_of(tmp_path):
        assert user_id not in tables.read_file(tmp_path / name, "user_id")
    import_days(tables.settings, tmp_path)
    assert differences(tables, tmp_path) == []
    forget(tables, second)
    assert differences(tables, tmp_path) == []
    said, _ = said_by_import(tables, tmp_path, capsys)
    assert "0 days imported now, 1 were there already" in said
    tables.forget_events()
    assert tables.count("all_events") == 40


def test_a_day_of_nobody_else(
    tables: Tables, user_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    insert_rows_of(tables, user_id, range(6))
    assert export(tables.settings, tmp_path)
    import_days(tables.settings, tmp_path)
    tables.clickhouse.command("TRUNCATE TABLE imported_events")
    forget(tables, user_id)
    said, _ = said_by_import(tables, tmp_path, capsys)
    assert "0 events imported, without 6" in said
    assert "0 days imported now" in said_by_import(tables, tmp_path, capsys)[0]
    assert tables.count("all_events") == tables.scalar("SELECT count() FROM imported_days") == 0
    assert differences(tables, tmp_path) == []


def test_marks_of_one_log_say_nothing_of_another(
    tables: Tables, user_id: str, tmp_path: Path
) -> None:
    namespace = f"t_{secrets.token_hex(5)}"
    other = Tables(dataclasses.replace(tables.settings, namespace=namespace))
    try:
        insert_rows_of(other, user_id, range(6))
        assert export(other.settings, tmp_path)
    finally:
        other.close()
    mark(tables, user_id)
    import_days(tables.settings, tmp_path)
    assert rows_of(tables, user_id) == [6, 6]
    assert forget(tables, user_id)["imported_events"] == 0
    assert rows_of(tables, user_id) == [6, 6]
    assert tables.count("imported_events_forgotten") == 0


@pytest.mark.parametrize("has_event_rows", [True, False])
def test_a_day_on_its_way_is_dropped_with_the_user(
    tables: Tables,
    user_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_event_rows: bool,
) -> None:
    """It was loaded and is about to get its place when the user is forgotten."""
    tables.insert(DAY, 40)
    insert_rows_of(tables, user_id, range(6))
    assert export(tables.settings, tmp_path)
    if not has_event_rows:
        tables.forget_events()
    beside = tables.beside()

    def overtake(name: str) -> None:
        if name == "import.before_publish":
            monkeypatch.undo()
            forget(beside, user_id)

    monkeypatch.setattr("cli.parquet.loading.failpoint", overtake)
    with pytest.raises(StartupError, match="run this again"):
        import_days(tables.settings, tmp_path)
    assert rows_of(tables, user_id) == [0, 0]
    assert not any("aside" in name for name in tables.names())
    import_days(tables.settings, tmp_path)
    assert rows_of(tables, user_id) == [0, 0]
    assert tables.count("all_events") == 40
    assert differences(tables, tmp_path) == []


def test_who_is_forgotten_while_a_day_is_loaded_is_left_out(
    tables: Tables, user_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marks are read when everything is loaded."""
    tables.insert(DAY, 40)
    insert_rows_of(tables, user_id, range(6))
    assert export(tables.settings, tmp_path)

    def overtake(name: str) -> None:
        if name == "import.before_marks":
            mark(tables, user_id)

    monkeypatch.setattr("cli.parquet.loading.failpoint", overtake)
    import_days(tables.settings, tmp_path)
    assert tables.count("imported_events") == 40
    assert rows_of(tables, user_id)[0] == 0


def test_what_a_killed_import_left_goes_with_the_user(
    tables: Tables, user_id: str, tmp_path: Path
) -> None:
    insert_rows_of(tables, user_id, range(6))
    assert export(tables.settings, tmp_path)
    tables.track("import", str(tmp_path), TRACK_FAILPOINT="import.before_publish:1")
    assert any("aside" in name for name in tables.names())
    forget(tables, user_id)
    assert not any("aside" in name for name in tables.names())
