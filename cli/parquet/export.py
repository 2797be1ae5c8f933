"""`track export`: days of the table `events` as Parquet files in a folder, before they expire.

In: settings, a folder, the first and the last day that are asked for. Out: each day that is over
and fully written as files of its own, named in the folder's manifest. Never: a part of a day; a
change in ClickHouse; a file in memory.

ClickHouse reads the rows and writes the Parquet; it comes over HTTP and goes to the disk as it
comes. A run that was killed is finished by the next: days that are in the manifest are not written
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import click
from rich.console import Console

from cli.parquet.days import State, judge_days
from cli.parquet.folder import Folder, open_folder, write_file
from cli.parquet.manifest import Day, File, Manifest
from cli.parquet.pieces import ROWS_A_FILE, SETTINGS, Piece, pieces_of, read_bounds
from cli.parquet.settled import read_settled
from cli.parquet.tallies import count_days, read_days_kept, tally_events
from cli.progress import Bar
from cli.repair.findings import counted
from cli.server_failures import told_what_then
from processors.writer.commits import now_ms
from runtime.clickhouse import Client, connect_sync
from runtime.failpoints import failpoint
from runtime.settings import Settings
from runtime.startup import ServerAwayError, StartupError, require_log

FAILPOINTS = (
    "export.after_file",
    "export.before_rename",
    "export.after_rename",
    "export.after_manifest",
)
"""Where a test kills an export."""

# A piece that ClickHouse sorts out of a large day may give its first byte late.
_ANSWER_S = 3600.0
# Rows that come while a day is read: late ones, since the day is over.
_ATTEMPTS = 3


def export(
    settings: Settings,
    path: Path,
    *,
    first: date | None = None,
    last: date | None = None,
    rows_a_file: int = ROWS_A_FILE,
) -> bool:
    """Export what is due and say so; return whether every day that was asked for is exported.

    Args:
        settings: the servers; the user of ClickHouse reads `events` and `log`.
        path: the folder.
        first: the first day that is asked for; by default the first that there is.
        last: the last day that is asked for; by default the last that is over.
        rows_a_file: about how many rows a file gets.

    Raises:
        StartupError: a server does not answer, the folder is in use or is another log's.
    """
    with open_folder(path) as folder, _sentences(), closing(_connect(settings)) as client:
        log = asyncio.run(require_log(settings)).id
        manifest = folder.take_up(log)
        settled_ms = asyncio.run(read_settled(settings))
        # Days are counted after that moment was asked for, so they have all that came before it.
        rows = count_days(client)
        states = judge_days(
            rows,
            {day: exported.rows for day, exported in manifest.days.items()},
            settled_ms=settled_ms,
            now_ms=now_ms(),
            days_kept=read_days_kept(client),
        )
        asked = _asked_for(states, first, last)
        _Export(client, folder, rows_a_file).run(manifest, asked, rows)
    if last is None:
        _say_what_goes_on(states)
    return _say_what_is_left(asked)


class _Export:
    """The export into one folder."""

    def __init__(self, client: Client, folder: Folder, rows_a_file: int) -> None:
        self._client = client
        self._folder = folder
        self._rows_a_file = rows_a_file
        self._console = Console()

    def run(
        self, manifest: Manifest, states: Mapping[date, State], rows: Mapping[date, int]
    ) -> None:
        """Export each day that is due; `rows` is how many events each had when it was judged."""
        done = sum(state is State.EXPORTED for state in states.values())
        due = [day for day, state in states.items() if state.is_due]
        with Bar(self._console, "events", sum(rows[day] for day in due)) as bar:
            for day in due:
                exported = self._export_day(manifest.log, day, rows[day], bar)
                manifest = self._folder.publish(manifest, day, exported)
                self._say_exported(day, exported, states[day])
        click.echo(
            f"{self._folder.path}: {counted(len(due), 'day')} exported now, "
            f"{done} were there already, {len(manifest.days)} in all"
        )

    def _say_exported(self, day: date, exported: Day, state: State) -> None:
        again = " again, because its rows have changed" if state is State.CHANGED else ""
        self._console.print(
            f"✓ {day}: {counted(exported.rows, 'event')}, {exported.bytes:,} bytes in "
            f"{counted(len(exported.files), 'file')}{again}",
            highlight=False,
            soft_wrap=True,
        )

    def _export_day(self, log: str, day: date, judged: int, bar: Bar) -> Day:
        """Write a day's files as a draft, and see that nothing came into the day meanwhile.

        It must not have fewer rows than when it was judged: those before it may take hours, in
        which it may begin to expire.
        """
        for _ in range(_ATTEMPTS):
            before = tally_events(self._client, day)
            files = self._write_files(log, day, bar)
            rows = sum(file.rows for file in files)
            after = tally_events(self._client, day)
            if before == after and rows == sum(span.rows for span in after.values()) >= judged:
                size = sum(file.bytes for file in files)
                return Day(rows, size, _now(), after, files)
        raise ServerAwayError(
            f"The rows of {day} go on changing while they are exported; run this again when "
            "nothing is inserted into that day or taken out of it."
        )

    def _write_files(self, log: str, day: date, bar: Bar) -> list[File]:
        draft = self._folder.begin_draft()
        pieces = pieces_of(log, day, read_bounds(self._client, day, self._rows_a_file))
        files = []
        for number, piece in enumerate(pieces):
            written = self._write_file(draft / f"{number:04}.parquet", piece)
            failpoint("export.after_file")
            files.append(written)
            bar.advance(written.rows)
        return files

    def _write_file(self, path: Path, piece: Piece) -> File:
        stream = self._client.raw_stream(
            piece.statement,
            parameters=dict(piece.parameters),
            settings=dict(SETTINGS),
            fmt="Parquet",
        )
        try:
            with closing(stream):
                return write_file(path, stream.read)
        except ValueError as error:
            raise ServerAwayError(
                f"ClickHouse broke off while it wrote {path.name}: {error}. Run this again; its "
                "own log says why."
            ) from error


def _connect(settings: Settings) -> Client:
    return connect_sync(settings, timeout_s=_ANSWER_S)


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what a server or the disk answers in the middle into a sentence."""
    try:
        with told_what_then("run this again: what is in the manifest is not written again."):
            yield
    except OSError as error:
        raise StartupError(
            f"The folder cannot be written: {error}. Make room or name another one, and run this "
            "again."
        ) from error


def _asked_for(
    states: Mapping[date, State], first: date | None, last: date | None
) -> dict[date, State]:
    """Return the days within the range; without one, those that are not over are left out."""
    today = datetime.now(UTC).date()
    return {
        day: state
        for day, state in states.items()
        if (first is None or day >= first) and (day <= last if last else day < today)
    }


def _say_what_goes_on(states: Mapping[date, State]) -> None:
    """Say that today is not over, which nobody who asked for no day in particular asked for."""
    for day, state in states.items():
        if day >= datetime.now(UTC).date() and state is State.NOT_SETTLED:
            click.echo(f"· {day}: not over yet; a day is exported whole, once it is")


def _say_what_is_left(states: Mapping[date, State]) -> bool:
    """Say which days could not be exported; return whether there is none that still could be."""
    complete = True
    for day, state in states.items():
        if state is State.NOT_SETTLED:
            complete = False
            click.echo(
                f"✗ {day}: not exported, since it is not over, or not everything of it is in the "
                "table yet; run this again later"
            )
        elif state is State.EXPIRING:
            click.echo(f"! {day}: not exported, since it has begun to expire and is not whole")
    return complete


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
