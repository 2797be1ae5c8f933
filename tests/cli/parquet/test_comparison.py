"""`track verify --export`: silent about what agrees, precise about what was broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.parquet.comparison import compare_export
from cli.parquet.export import export
from cli.parquet.loading import import_days
from tests.cli.parquet.events import Tables, day_before, files_of, read_manifest


@pytest.fixture
def folder(tables: Tables, tmp_path: Path) -> Path:
    """Two days, in both tables and in files."""
    tables.insert(day_before(1), 40)
    tables.insert(day_before(2), 30)
    assert export(tables.settings, tmp_path / "exports")
    import_days(tables.settings, tmp_path / "exports")
    return tmp_path / "exports"


def findings(tables: Tables, folder: Path) -> list[list[str]]:
    """Return the differences of files, of events and of imported events."""
    log = tables.scalar("SELECT id FROM log")
    return [compared.differences for compared in compare_export(tables.settings, folder, log)]


def test_what_agrees_is_said_and_nothing_more(tables: Tables, folder: Path) -> None:
    log = tables.scalar("SELECT id FROM log")
    said = [str(compared) for compared in compare_export(tables.settings, folder, log)]
    assert said == [
        f"✓ {folder}: 2 days in 2 files",
        f"✓ {folder} and events: 2 days, 70 rows",
        f"✓ {folder} and imported_events: 2 days, 70 rows",
    ]


def test_rows_that_are_missing_in_a_table_are_named(tables: Tables, folder: Path) -> None:
    for table in ("events", "imported_events"):
        tables.clickhouse.command(
            f"ALTER TABLE {table} DELETE WHERE toDate(received_at) = '{day_before(1)}' "
            "AND kafka_partition = 2 SETTINGS mutations_sync = 2"
        )
    wanted = f"{day_before(1)}: partition 2 has no rows, and must have 10 rows of offsets"
    files, events, imported = findings(tables, folder)
    assert files == []
    assert len(events) == len(imported) == 1
    assert events[0].startswith(wanted)
    assert imported[0].startswith(wanted)


def test_a_day_that_may_have_begun_to_expire_is_not_held_against_it(
    tables: Tables, folder: Path
) -> None:
    tables.clickhouse.command("SYSTEM STOP TTL MERGES events")
    tables.clickhouse.command(
        "ALTER TABLE events MODIFY TTL toDateTime(received_at) + toIntervalDay(2)"
    )
    tables.clickhouse.command(f"ALTER TABLE events DROP PARTITION '{day_before(2)}'")
    assert findings(tables, folder) == [[], [], []]
    tables.clickhouse.command(f"ALTER TABLE events DROP PARTITION '{day_before(1)}'")
    _, events, _ = findings(tables, folder)
    assert len(events) == 1


def test_files_that_were_changed_are_named(tables: Tables, folder: Path) -> None:
    first, second = files_of(folder)
    (folder / first).unlink()
    (folder / second).write_bytes(b"PAR1" + (folder / second).read_bytes()[4:-1] + b"2")
    files, _, _ = findings(tables, folder)
    assert files == [
        f"{folder / first} is not there",
        f"{folder / second} was changed: its SHA-256 is not the manifest's",
    ]


def test_the_folder_of_another_log_is_said(tables: Tables, folder: Path) -> None:
    manifest = read_manifest(folder)
    manifest["log"] = "f" * 32
    (folder / "manifest.json").write_text(json.dumps(manifest))
    files, events = findings(tables, folder)
    assert files == []
    assert f"its events are of the log {'f' * 32}" in events[0]


def test_the_command_compares_everything_and_the_folder(tables: Tables, folder: Path) -> None:
    done = tables.track("verify", "--export", str(folder))
    # The rows were inserted by hand: the topics know nothing of them.
    assert done.returncode == 1
    assert f"✓ {folder} and events: 2 days, 70 rows" in done.stdout
    done = tables.track("verify", "--export", str(folder / "nowhere"))
    assert (done.returncode, done.stdout) == (78, "")  # said before anything was compared
