"""`track export` on real servers."""

from __future__ import annotations

from pathlib import Path

from cli.parquet.export import export
from cli.parquet.loading import import_days
from tests.cli.parquet.events import Tables, day_before, read_manifest


def test_days_that_are_over_are_written_and_come_back(tables: Tables, tmp_path: Path) -> None:
    for days in (0, 1, 3):
        tables.insert(day_before(days), 40 + days)
    assert export(tables.settings, tmp_path / "out", rows_a_file=10)
    manifest = read_manifest(tmp_path / "out")
    print(manifest)
    before = {days: tables.rows("events", day_before(days)) for days in (1, 3)}
    import_days(tables.settings, tmp_path / "out")
    for days in (1, 3):
        assert tables.rows("imported_events", day_before(days)) == before[days]
