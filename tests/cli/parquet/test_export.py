"""`track export` on real servers: whole days, once, whatever happens meanwhile."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.parquet.export import FAILPOINTS, export
from cli.parquet.folder import Folder, open_folder, open_to_read
from cli.parquet.footer import count_rows
from runtime.settings import Settings
from runtime.startup import ServerAwayError, StartupError
from tests.cli.parquet.events import Tables, day_before, files_of, read_manifest, today
from tests.processors.writer.pipeline import Pipeline

# The command with smaller files.
RUN_EXPORT = """
import os, sys
from pathlib import Path
from cli.parquet.export import export
from runtime.settings import Settings
export(Settings.from_environment(os.environ), Path(sys.argv[1]), rows_a_file=10)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "exports" / "of events"


def run_export(tables: Tables, folder: Path, failpoint: str) -> int:
    """Run an export in a process of its own; return its exit code."""
    command = [sys.executable, "-c", RUN_EXPORT, str(folder)]
    environment = tables.environment(TRACK_FAILPOINT=failpoint)
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


def require_sound(tables: Tables, folder: Path, days: list[int]) -> None:
    """Fail unless the folder has exactly these days, as the table has them, and nothing else."""
    with open_to_read(folder) as (opened, manifest):
        assert list(manifest.days) == sorted(day_before(each) for each in days)
        named = [file for day in manifest.days.values() for file in day.files]
        assert [fault for file in named if (fault := opened.find_fault(file))] == []
        assert sorted(file.name for file in named) == files_of(folder)
        for day, exported in manifest.days.items():
            assert exported.rows == tables.count("events", day)
            spans = {number: (s.rows, s.first, s.last) for number, s in exported.partitions.items()}
            assert spans == tables.spans(day)
    assert not (folder / ".draft").exists()


def test_days_that_are_over_are_written_and_others_are_not(
    tables: Tables, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for days in (0, 1, 3):
        tables.insert(day_before(days), 40 + days)
    assert export(tables.settings, folder)
    assert f"· {day_before(0)}: not over yet" in capsys.readouterr().out
    require_sound(tables, folder, [1, 3])


def test_a_day_is_many_files_and_each_row_is_in_one(tables: Tables, folder: Path) -> None:
    # Of one user and moment more rows than a file has: they cannot be cut apart.
    tables.insert(day_before(2), 300)
    tables.insert(day_before(2), 50, user_id="bot", event="play", timestamp=1_000_000)
    assert export(tables.settings, folder, rows_a_file=25)
    require_sound(tables, folder, [2])
    rows = [file["rows"] for file in read_manifest(folder)["days"][str(day_before(2))]["files"]]
    assert len(rows) > 10
    assert max(rows) <= 75
    ids: list[str] = []
    for name in files_of(folder):
        ids += tables.read_file(folder / name, "event_id")
    assert sorted(ids) == sorted(tables.column("events", "event_id"))


def test_what_is_there_is_not_written_again(tables: Tables, folder: Path) -> None:
    tables.insert(day_before(1))
    assert export(tables.settings, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    manifest = read_manifest(folder)
    assert export(tables.settings, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before
    assert read_manifest(folder) == manifest
    # Gone by retention, a day stays in the folder.
    tables.forget_events()
    tables.insert(day_before(2))
    assert export(tables.settings, folder)
    assert list(read_manifest(folder)["days"]) == [str(day_before(2)), str(day_before(1))]


@pytest.mark.parametrize("failpoint", FAILPOINTS)
@pytest.mark.parametrize("passing", [1, 2])
def test_a_killed_export_is_finished_by_the_next(
    tables: Tables, folder: Path, failpoint: str, passing: int
) -> None:
    tables.insert(day_before(1), 25)
    tables.insert(day_before(2), 25)
    assert run_export(tables, folder, f"{failpoint}:{passing}") == -signal.SIGKILL
    with open_to_read(folder) as (opened, manifest):
        # A day is whole or absent.
        for exported in manifest.days.values():
            assert exported.rows == 25
            assert [opened.find_fault(file) for file in exported.files] == [None] * 3
    assert export(tables.settings, folder, rows_a_file=10)
    require_sound(tables, folder, [1, 2])


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_an_export_that_is_killed_over_an_older_one_leaves_one_of_them(
    tables: Tables, folder: Path, failpoint: str
) -> None:
    tables.insert(day_before(1), 25)
    assert export(tables.settings, folder, rows_a_file=10)
    tables.insert(day_before(1), 1)
    assert run_export(tables, folder, f"{failpoint}:1") == -signal.SIGKILL
    with open_to_read(folder) as (opened, manifest):
        (exported,) = manifest.days.values()
        assert exported.rows in (25, 26)
        assert all(opened.find_fault(file) is None for file in exported.files)
    assert export(tables.settings, folder, rows_a_file=10)
    require_sound(tables, folder, [1])


def test_a_day_that_got_or_lost_rows_is_exported_again(
    tables: Tables, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.insert(day_before(1), 40)
    tables.insert(day_before(2), 40)
    assert export(tables.settings, folder)
    tables.insert(day_before(2), 3)
    capsys.readouterr()
    assert export(tables.settings, folder)
    said = capsys.readouterr().out
    assert re.search(f"✓ {day_before(2)}: 43 events, .* again, because its rows have changed", said)
    assert "1 day exported now, 1 were there already, 2 in all" in said
    require_sound(tables, folder, [1, 2])
    tables.clickhouse.command(
        f"ALTER TABLE events DELETE WHERE event_id = '{day_before(1)}-7' SETTINGS mutations_sync=2"
    )
    assert export(tables.settings, folder)
    require_sound(tables, folder, [1, 2])
    assert read_manifest(folder)["days"][str(day_before(1))]["rows"] == 39


def test_a_day_that_has_begun_to_expire_is_left(
    tables: Tables, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.clickhouse.command("SYSTEM STOP TTL MERGES events")
    tables.clickhouse.command(
        "ALTER TABLE events MODIFY TTL toDateTime(received_at) + toIntervalDay(4)"
    )
    for days in (1, 3, 4):
        tables.insert(day_before(days))
    assert export(tables.settings, folder)
    said = capsys.readouterr().out
    assert f"! {day_before(4)}: not exported, since it has begun to expire" in said
    require_sound(tables, folder, [1, 3])
    # What was exported before stays, whatever is left of it in the table.
    tables.clickhouse.command(
        "ALTER TABLE events MODIFY TTL toDateTime(received_at) + toIntervalDay(2)"
    )
    tables.clickhouse.command(
        f"ALTER TABLE events DELETE WHERE toDate(received_at) = '{day_before(3)}' "
        "AND kafka_partition = 0 SETTINGS mutations_sync = 2"
    )
    assert export(tables.settings, folder)
    assert read_manifest(folder)["days"][str(day_before(3))]["rows"] == 40


def test_a_range_of_days(tables: Tables, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for days in (0, 1, 2, 3):
        tables.insert(day_before(days))
    assert export(tables.settings, folder, first=day_before(2), last=day_before(2))
    require_sound(tables, folder, [2])
    assert export(tables.settings, folder, last=day_before(3))
    require_sound(tables, folder, [2, 3])
    # Today is not over, and whoever names it is told so.
    capsys.readouterr()
    assert not export(tables.settings, folder, first=day_before(1), last=today())
    assert f"✗ {today()}: not exported, since it is not over" in capsys.readouterr().out
    require_sound(tables, folder, [1, 2, 3])


def test_nothing_to_export_is_no_fault(tables: Tables, folder: Path) -> None:
    assert export(tables.settings, folder)
    assert read_manifest(folder)["days"] == {}
    require_sound(tables, folder, [])


def test_a_day_is_not_exported_before_everything_of_it_is_written(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline(settings, tmp_path)
    try:
        pipeline.produce(300)
        pipeline.run_until_done()
        pipeline.produce(30)  # yesterday's among them, and no writer
        assert not export(settings, tmp_path / "out")
        assert f"✗ {day_before(1)}: not exported" in capsys.readouterr().out
        assert read_manifest(tmp_path / "out")["days"] == {}
        pipeline.run_until_done()
        assert export(settings, tmp_path / "out")
        count = pipeline.scalar(f"SELECT count() FROM events WHERE received_at < '{today()}'")
        assert count > 0
        assert read_manifest(tmp_path / "out")["days"][str(day_before(1))]["rows"] == count
    finally:
        pipeline.close()


def test_events_that_come_in_meanwhile_change_no_day_that_is_over(
    tables: Tables, folder: Path
) -> None:
    for days in (1, 2, 3):
        tables.insert(day_before(days), 200)
    ended = threading.Event()

    def insert() -> None:
        while not ended.is_set():
            busy.insert(today(), 20)

    busy = tables.beside()
    thread = threading.Thread(target=insert)
    thread.start()
    try:
        assert export(tables.settings, folder, rows_a_file=20)
    finally:
        ended.set()
        thread.join()
    assert tables.count("events", today()) > 0
    require_sound(tables, folder, [1, 2, 3])


def test_a_day_that_goes_on_changing_is_not_exported(
    tables: Tables, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.insert(day_before(1))
    begin = Folder.begin_draft
    late = 0

    def begin_late(self: Folder) -> Path:
        nonlocal late
        if late < changes:
            tables.insert(day_before(1), 1)
            late += 1
        return begin(self)

    monkeypatch.setattr(Folder, "begin_draft", begin_late)
    changes = 3
    with pytest.raises(ServerAwayError, match=f"The rows of {day_before(1)} go on changing"):
        export(tables.settings, folder)
    assert read_manifest(folder)["days"] == {}
    late, changes = 0, 2
    assert export(tables.settings, folder)
    require_sound(tables, folder, [1])


def test_an_answer_that_breaks_off_leaves_no_day(tables: Tables, folder: Path) -> None:
    tables.clickhouse.command(
        "INSERT INTO events "
        "SELECT toString(number), 'u', 'play', at, at, '{}', '', number, 0, number FROM "
        f"(SELECT number, toDateTime64('{day_before(1)} 00:00:00', 3, 'UTC') AS at "
        "FROM numbers(1000000))"
    )
    ended = threading.Event()
    killer = tables.beside()

    def kill() -> None:
        while not ended.wait(0.01):
            killer.clickhouse.command(
                "KILL QUERY WHERE query LIKE '%FORMAT Parquet%' AND "
                f"current_database = '{tables.settings.namespace}' AND query_kind = 'Select'"
            )

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        with pytest.raises(ServerAwayError, match=r"failed in the middle|broke off"):
            export(tables.settings, folder, rows_a_file=1_000_000)
    finally:
        ended.set()
        thread.join()
    assert read_manifest(folder)["days"] == {}
    assert export(tables.settings, folder)
    require_sound(tables, folder, [1])


def test_two_exports_at_once_exclude_each_other(tables: Tables, folder: Path) -> None:
    tables.insert(day_before(1))
    with open_folder(folder):
        done = tables.track("export", "--to", str(folder))
        assert done.returncode == 78
        assert done.stderr.startswith("Another `track export` or `track import` works in ")
        assert done.stderr.count("\n") == 1
    assert tables.track("export", "--to", str(folder)).returncode == 0
    require_sound(tables, folder, [1])


def test_the_folder_of_another_pipeline_is_refused(tables: Tables, folder: Path) -> None:
    with open_folder(folder) as opened:
        opened.take_up("f" * 32)
    with pytest.raises(StartupError, match="Use another folder: each log has its own"):
        export(tables.settings, folder)


def test_a_disk_that_is_full_is_a_sentence(
    tables: Tables, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.insert(day_before(1))

    def write_to_full_disk(self: Folder) -> Path:
        draft = begin(self)
        (draft / "0000.parquet").symlink_to("/dev/full")
        return draft

    begin = Folder.begin_draft
    monkeypatch.setattr(Folder, "begin_draft", write_to_full_disk)
    with pytest.raises(StartupError, match="The folder cannot be written"):
        export(tables.settings, folder)


def test_the_command_says_what_it_does_and_what_is_wrong(tables: Tables, folder: Path) -> None:
    tables.insert(day_before(1))
    done = tables.track("export", "--to", str(folder), "--from", str(day_before(1)))
    assert done.returncode == 0, done.stderr
    assert f"✓ {day_before(1)}: 40 events" in done.stdout
    assert tables.track("export").returncode == 2
    assert tables.track("export", "--to", str(folder), "--until", "18.1.2025").returncode == 2
    assert tables.track("export", "--to", str(folder), "--until", str(today())).returncode == 0
    tables.insert(today())
    assert tables.track("export", "--to", str(folder), "--until", str(today())).returncode == 1
    away = tables.track("export", "--to", str(folder), TRACK_CLICKHOUSE="http://u:p@127.0.0.1:1")
    assert away.returncode == 70
    assert "Traceback" not in away.stderr


def test_files_tell_others_what_they_hold(tables: Tables, folder: Path) -> None:
    tables.insert(day_before(1), 8, metadata={"s": "x", "n": 3.0})
    assert export(tables.settings, folder)
    (name,) = files_of(folder)
    with (folder / name).open("rb") as file:
        assert count_rows(file) == 8
    assert set(tables.read_file(folder / name, "metadata")) == {'{"n":3.0,"s":"x"}'}
