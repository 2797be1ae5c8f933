"""A folder of exported events held against the tables, for `track verify`.

In: the folder, settings. Out: what was compared, and each difference as a sentence. Never: a
difference for a day of which rows may have expired; a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date
from pathlib import Path

from cli.comparison.compared import Compared
from cli.parquet.days import is_whole
from cli.parquet.folder import Folder, open_to_read
from cli.parquet.manifest import Manifest, describe_difference
from cli.parquet.tallies import (
    Tally,
    count_days,
    read_days_kept,
    tally_events,
    tally_forgotten,
    tally_imported,
    tally_with_forgotten,
)
from cli.repair.findings import counted
from processors.writer.commits import now_ms
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings

_ANSWER_S = 3600.0


def compare_export(settings: Settings, path: Path, log: str) -> Iterator[Compared]:
    """Give what was compared: the files, the days that `events` still has whole, imported days.

    Raises:
        StartupError: there is no such folder, or an export works in it.
        ClickHouseError: the server does not answer.
    """
    with (
        open_to_read(path) as (folder, manifest),
        closing(connect_sync(settings, timeout_s=_ANSWER_S)) as client,
    ):
        yield _compare_files(folder, manifest)
        if manifest.log != log:
            differs = f"its events are of the log {manifest.log}, and the tables of {log}"
            yield Compared(f"{path} and events", [differs])
            return
        yield _compare_events(client, path, manifest)
        yield _compare_imported(client, path, manifest)


def _compare_files(folder: Folder, manifest: Manifest) -> Compared:
    files = [file for day in manifest.days.values() for file in day.files]
    faults = [fault for file in files if (fault := folder.find_fault(file))]
    return Compared(
        f"{folder.path}: {counted(len(manifest.days), 'day')} in {counted(len(files), 'file')}",
        faults,
    )


def _compare_events(client: Client, path: Path, manifest: Manifest) -> Compared:
    kept, present = read_days_kept(client), count_days(client)
    whole = [day for day in manifest.days if is_whole(day, now_ms(), kept)]
    tallies = {day: tally_events(client, day) if day in present else {} for day in whole}
    # A day may have been exported before or after one of its users was forgotten.
    forgotten = {day: tally_forgotten(client, day) for day in whole}
    return _compare(f"{path} and events", manifest, tallies, forgotten)


def _compare_imported(client: Client, path: Path, manifest: Manifest) -> Compared:
    imported = {
        day: tally_with_forgotten(client, manifest.log, day)
        for day in manifest.days
        if tally_imported(client, manifest.log, day)
    }
    return _compare(f"{path} and imported_events", manifest, imported, {})


def _compare(
    what: str,
    manifest: Manifest,
    tallies: Mapping[date, Tally],
    forgotten: Mapping[date, Tally],
) -> Compared:
    """Hold days of a table against the manifest; rows may lack that are among the forgotten."""
    compared, rows = Compared(""), 0
    for day, tally in tallies.items():
        rows += manifest.days[day].rows
        fault = describe_difference(manifest.days[day].partitions, tally, forgotten.get(day, {}))
        if fault:
            compared.differences.append(f"{day}: {fault}")
    compared.what = f"{what}: {counted(len(tallies), 'day')}, {counted(rows, 'row')}"
    return compared
