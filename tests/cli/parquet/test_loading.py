"""`track import` on real servers: each day whole and once, and counted by nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from cli.parquet.export import export
from cli.parquet.folder import open_folder
from cli.parquet.loading import FAILPOINTS, import_days
from cli.parquet.tallies import tally_with_forgotten
from runtime.settings import Settings
from runtime.startup import StartupError
from tests.cli.parquet.events import ROLLUPS, Tables, day_before, files_of, read_manifest

DAYS = (1, 2, 4)
OTHER_LOG = "e" * 32


@pytest.fixture
def folder(tables: Tables, tmp_path: Path) -> Path:
    """Three days, each in several files; the tables still have them."""
    for days in DAYS:
        tables.insert(day_before(days), 40 + days)
    assert export(tables.settings, tmp_path / "exports", rows_a_file=15)
    return tmp_path / "exports"


def counts(tables: Tables) -> list[Any]:
    """Return what the tables beside the imported events hold."""
    sums = [tables.scalar(f"SELECT count() FROM {name}") for name in ("events", *ROLLUPS)]
    return [*sums, tables.scalar("SELECT sum(events) FROM event_counts")]


def aside(tables: Tables) -> list[str]:
    """Return the tables aside that are there."""
    return [name for name in tables.names() if name.startswith("imported_events_aside")]


def change_manifest(folder: Path, day: int, **changes: Any) -> None:
    """Change what the manifest says of a day, or of the folder where the day is 0."""
    manifest = read_manifest(folder)
    part = manifest["days"][str(day_before(day))] if day else manifest
    part.update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def seal(folder: Path, day: int, place: int, content: bytes, rows: int) -> None:
    """Put other content into a file, with everything that the manifest says of it."""
    manifest = read_manifest(folder)
    exported = manifest["days"][str(day_before(day))]
    file = exported["files"][place]
    (folder / file["name"]).write_bytes(content)
    exported["rows"] += rows - file["rows"]
    exported["bytes"] += len(content) - file["bytes"]
    first = next(iter(exported["partitions"].values()))
    first["rows"] += rows - file["rows"]
    digest = hashlib.sha256(content).hexdigest()
    file |= {"rows": rows, "bytes": len(content), "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_every_column_of_every_row_comes_back(tables: Tables, folder: Path) -> None:
    before = {days: tables.rows("events", day_before(days)) for days in DAYS}
    tables.forget_events()
    import_days(tables.settings, folder)
    for days, rows in before.items():
        assert tables.rows("imported_events", day_before(days)) == rows
        assert tables.rows("all_events", day_before(days)) == rows
    assert set(tables.column("imported_events", "log_id")) == {read_manifest(folder)["log"]}
    assert aside(tables) == []


def test_nothing_is_counted_again(tables: Tables, folder: Path) -> None:
    before = counts(tables)
    import_days(tables.settings, folder)
    assert counts(tables) == before
    tables.forget_events()
    import_days(tables.settings, folder)
    assert counts(tables) == [0, *before[1:]]


def test_an_import_that_is_repeated_changes_nothing(
    tables: Tables, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_days(tables.settings, folder)
    parts = tables.parts("imported_events")
    capsys.readouterr()
    import_days(tables.settings, folder)
    assert "0 days imported now, 3 were there already" in capsys.readouterr().out
    assert tables.parts("imported_events") == parts
    assert tables.count("imported_events") == sum(40 + days for days in DAYS)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
@pytest.mark.parametrize("passing", [1, 2])
def test_a_killed_import_shows_whole_days_and_is_finished_by_the_next(
    tables: Tables, folder: Path, failpoint: str, passing: int
) -> None:
    tables.forget_events()
    done = tables.track("import", str(folder), TRACK_FAILPOINT=f"{failpoint}:{passing}")
    assert done.returncode == -signal.SIGKILL
    for table in ("imported_events", "all_events"):
        for days in DAYS:
            assert tables.count(table, day_before(days)) in (0, 40 + days)
    import_days(tables.settings, folder)
    for table in ("imported_events", "all_events"):
        for days in DAYS:
            assert tables.count(table, day_before(days)) == 40 + days


def test_what_a_killed_import_left_is_dropped_when_nobody_can_need_it(
    tables: Tables, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.track("import", str(folder), TRACK_FAILPOINT="import.after_file:1")
    assert len(aside(tables)) == 3
    import_days(tables.settings, folder)
    assert len(aside(tables)) == 3
    monkeypatch.setattr("cli.parquet.loading._LEFT_AFTER_S", 0)
    tables.scalar("SELECT sleep(1.1)")
    import_days(tables.settings, folder)
    assert aside(tables) == []


def test_two_imports_at_once_bring_each_day_once(tables: Tables, folder: Path) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: codes.append(tables.track("import", str(folder)).returncode)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    for days in DAYS:
        assert tables.count("imported_events", day_before(days)) == 40 + days


@pytest.mark.parametrize("mixed", [1, 5])
def test_a_day_mixed_with_that_of_another_import_is_put_there_again(
    tables: Tables, folder: Path, monkeypatch: pytest.MonkeyPatch, mixed: int
) -> None:
    """Of two who replace a partition at one moment, ClickHouse may keep parts of both."""
    looks = 0

    def tally(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return {} if 2 <= looks < 2 + mixed else tally_with_forgotten(*arguments)

    monkeypatch.setattr("cli.parquet.loading.tally_with_forgotten", tally)
    day = day_before(2)
    if mixed == 1:
        import_days(tables.settings, folder, first=day, last=day)
    else:
        with pytest.raises(StartupError, match="another import is at work"):
            import_days(tables.settings, folder, first=day, last=day)
    assert looks == 1 + min(mixed + 1, 5)
    assert tables.count("imported_events", day) == 42


def test_a_day_that_was_exported_again_takes_the_place_of_the_older(
    tables: Tables, folder: Path
) -> None:
    import_days(tables.settings, folder)
    tables.insert(day_before(2), 5)
    assert export(tables.settings, folder)
    import_days(tables.settings, folder)
    assert tables.count("imported_events", day_before(2)) == 47
    assert tables.count("all_events", day_before(2)) == 47


def test_a_range_of_days(tables: Tables, folder: Path) -> None:
    import_days(tables.settings, folder, first=day_before(3), last=day_before(2))
    assert tables.count("imported_events") == 42
    import_days(tables.settings, folder, last=day_before(3))
    assert tables.count("imported_events") == 42 + 44


def test_days_of_two_logs_lie_side_by_side(tables: Tables, folder: Path, tmp_path: Path) -> None:
    other = Tables(_elsewhere(tables))
    try:
        other.insert(day_before(2), 9, user_id="elsewhere")
        assert export(other.settings, tmp_path / "other")
    finally:
        other.close()
    import_days(tables.settings, folder)
    import_days(tables.settings, tmp_path / "other")
    import_days(tables.settings, folder)
    assert tables.count("imported_events", day_before(2)) == 42 + 9
    assert tables.count("all_events", day_before(2)) == 42 + 9
    logs = tables.scalar(
        f"SELECT uniqExact(log_id) FROM all_events WHERE toDate(received_at) = '{day_before(2)}'"
    )
    assert logs == 2


def _elsewhere(tables: Tables) -> Settings:
    return dataclasses.replace(tables.settings, namespace=f"t_{secrets.token_hex(5)}")


@pytest.mark.parametrize("how", ["gone", "longer", "shorter", "changed", "another's"])
def test_a_damaged_file_is_refused_before_anything_of_its_day_is_seen(
    tables: Tables, folder: Path, how: str
) -> None:
    tables.forget_events()
    name = read_manifest(folder)["days"][str(day_before(2))]["files"][1]["name"]
    path = folder / name
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    if how == "longer":
        path.write_bytes(content + b"PAR1")
    if how == "shorter":
        path.write_bytes(content[: len(content) // 2])
    if how == "changed":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    if how == "another's":
        path.write_bytes((folder / files_of(folder)[0]).read_bytes())
    done = tables.track("import", str(folder))
    assert done.returncode == 78
    assert name in done.stderr
    assert f"Nothing of {day_before(2)} was imported" in done.stderr
    assert done.stderr.count("\n") == 1
    # The days before it were imported; they are whole.
    assert tables.count("imported_events", day_before(4)) == 44
    assert tables.count("imported_events", day_before(2)) == 0


def test_a_file_that_only_looks_right_is_refused_before_anything_is_seen(
    tables: Tables, folder: Path
) -> None:
    """Whoever changes a file and its SHA-256 alike is found out by what is in it."""
    tables.forget_events()
    first = read_manifest(folder)["days"][str(day_before(2))]["files"]
    other = read_manifest(folder)["days"][str(day_before(4))]["files"][0]
    seal(folder, 2, 0, (folder / other["name"]).read_bytes(), other["rows"])
    with pytest.raises(StartupError, match=f"{other['rows']} rows are of another log or day"):
        import_days(tables.settings, folder, first=day_before(2), last=day_before(2))
    seal(folder, 2, 0, (folder / first[1]["name"]).read_bytes(), first[1]["rows"])
    with pytest.raises(StartupError, match=r"do not have what .* says of them: partition"):
        import_days(tables.settings, folder, first=day_before(2), last=day_before(2))
    assert tables.count("imported_events", day_before(2)) == 0
    assert aside(tables) == []


def test_a_file_of_another_kind_is_refused(tables: Tables, folder: Path) -> None:
    made = tables.clickhouse.raw_query("SELECT 1 AS event_id, 2 AS more", fmt="Parquet")
    seal(folder, 2, 0, made, 1)
    with pytest.raises(StartupError, match="A server failed in the middle"):
        import_days(tables.settings, folder, first=day_before(2), last=day_before(2))
    assert tables.count("imported_events") == 0
    assert aside(tables) == []


def test_rows_that_say_another_log_are_refused(tables: Tables, folder: Path) -> None:
    change_manifest(folder, 0, log=OTHER_LOG)
    with pytest.raises(StartupError, match="rows are of another log or day"):
        import_days(tables.settings, folder)
    assert tables.count("imported_events") == 0


def test_an_import_waits_for_no_export(tables: Tables, folder: Path) -> None:
    with open_folder(folder):
        done = tables.track("import", str(folder))
    assert done.returncode == 78
    assert "run this again when it has ended" in done.stderr
    assert tables.count("imported_events") == 0


def test_what_is_no_export_is_refused(tables: Tables, tmp_path: Path) -> None:
    done = tables.track("import", str(tmp_path / "nowhere"))
    assert done.returncode == 78
    assert "holds no exported events" in done.stderr
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    done = tables.track("import", str(tmp_path))
    assert done.returncode == 78
    assert "its format is 99, and this version reads 1" in done.stderr
