"""`track import`: days of exported events back into ClickHouse, each of them once.

In: settings, a folder that `track export` wrote. Out: the days in the table `imported_events`, and
with them in the view `all_events`. Never: a row in `events`, whose views would count it again and
whose retention would drop it; a part of a day to be seen; a file taken that is not the manifest's.

A day goes into a table of its own first. When that has exactly what the manifest says, the rows of
users who are forgotten are taken out of it (`cli/parquet/forgotten.py`), and it takes the day's
place in `imported_events`, which ClickHouse does at once (REPLACE PARTITION). So a run that
was killed leaves a table aside and no row to be seen, and a day that is imported again is there
once. Of two runs at once both do the same, and the later replaces what the earlier brought; where
they do so at one moment, ClickHouse may keep parts of both, which is seen, and done again.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import click
from rich.console import Console

from cli.forgetting.marks import read_marks
from cli.parquet.folder import Folder, open_to_read
from cli.parquet.forgotten import ASIDE, leave_out
from cli.parquet.manifest import Day, File, describe_difference
from cli.parquet.pieces import COLUMNS
from cli.parquet.tallies import count_strangers, tally_imported, tally_with_forgotten
from cli.progress import Bar
from cli.repair.findings import counted
from cli.server_failures import told_what_then
from contracts.forgetting import Marks
from processors.writer.storage import LINES
from runtime.clickhouse import Client, connect_sync
from runtime.failpoints import failpoint
from runtime.settings import Settings
from runtime.startup import StartupError, require_log

FAILPOINTS = (
    "import.after_file",
    "import.before_marks",
    "import.before_publish",
    "import.after_publish",
    "import.after_day",
)
"""Where a test kills an import."""

_ANSWER_S = 3600.0
# A table aside whose run has ended: none takes so long for a day.
_LEFT_AFTER_S = 24 * 3600
_PUBLISHED_AT_MOST = 5
_SELECT_LEFT = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND startsWith(name, {aside:String})
  AND metadata_modification_time < now() - {seconds:UInt32}
"""
_CREATE = "CREATE TABLE {aside:Identifier} AS imported_events"
# ClickHouse's reader of Parquet makes JSON of texts by its own defaults, which refuse a path that
# stands twice (seen, 26.7); a cast goes by the settings of the insert. So files go into a table
# that keeps nothing and has metadata as text, and a view puts the rows into the table aside.
_CREATE_INLET = """
CREATE TABLE {inlet} ENGINE = Null
AS SELECT * REPLACE ('' AS metadata) FROM imported_events LIMIT 0
"""
_CREATE_VIEW = """
CREATE MATERIALIZED VIEW {view} TO {aside}
AS SELECT * REPLACE (CAST(metadata, 'JSON(max_dynamic_paths = 32)') AS metadata) FROM {inlet}
"""
_DROP = "DROP TABLE IF EXISTS {aside:Identifier} SYNC"
# Completed by the name of the table aside, which an ALTER does not bind.
_REPLACE = "ALTER TABLE imported_events REPLACE PARTITION ({log:String}, {day:Date}) FROM"
# Metadata is read as the writer reads it, so that its values have the types that they had.
_INSERT: dict[str, str | int] = {
    **{
        name: value
        for name, value in LINES.items()
        if name.startswith(("type_json_", "input_format_"))
    },
    "input_format_parquet_allow_missing_columns": 0,
    "async_insert": 0,
    "insert_deduplicate": 0,
    "max_threads": 2,
    "max_insert_threads": 1,
}


def import_days(
    settings: Settings, path: Path, *, first: date | None = None, last: date | None = None
) -> None:
    """Import the days of a folder that are not there yet, and say so.

    Args:
        settings: the servers; the user of ClickHouse makes tables.
        path: the folder.
        first: the first day that is asked for; by default the first of the folder.
        last: the last day that is asked for; by default the last of the folder.

    Raises:
        StartupError: a server does not answer, or folder or file are not what they must be.
    """
    with open_to_read(path) as (folder, manifest), _sentences():
        log = asyncio.run(require_log(settings)).id
        days = {
            day: exported
            for day, exported in manifest.days.items()
            if (first is None or day >= first) and (last is None or day <= last)
        }
        with closing(connect_sync(settings, timeout_s=_ANSWER_S)) as client:
            _Import(client, folder, manifest.log, _marks_of(settings, log, manifest.log)).run(days)


class _Import:
    """The import of days of one log."""

    def __init__(
        self, client: Client, folder: Folder, log: str, marks: Callable[[], Marks]
    ) -> None:
        self._client = client
        self._folder = folder
        self._log = log
        self._marks = marks
        self._console = Console()

    def run(self, days: dict[date, Day]) -> None:
        """Import each day that is not there as the manifest has it."""
        self._drop_left()
        lacking = {
            day: exported
            for day, exported in days.items()
            if tally_with_forgotten(self._client, self._log, day) != exported.partitions
        }
        with Bar(self._console, "events", sum(each.rows for each in lacking.values())) as bar:
            for day, exported in lacking.items():
                left_out = self._import_day(day, exported, bar)
                self._say_imported(day, exported.rows - left_out, left_out)
                failpoint("import.after_day")
        click.echo(
            f"{self._folder.path}: {counted(len(lacking), 'day')} imported now, "
            f"{len(days) - len(lacking)} were there already"
        )

    def _say_imported(self, day: date, rows: int, left_out: int) -> None:
        without = f", without {left_out:,} of users who are forgotten" if left_out else ""
        self._console.print(
            f"✓ {day}: {counted(rows, 'event')} imported{without}", highlight=False, soft_wrap=True
        )

    def _import_day(self, day: date, exported: Day, bar: Bar) -> int:
        """Import a day; return how many of its rows are left out."""
        for file in exported.files:
            fault = self._folder.find_fault(file)
            if fault:
                raise StartupError(
                    f"{fault}. Nothing of {day} was imported; put the file back from a copy, or "
                    "export the day again while it is there."
                )
        with self._table_aside() as aside:
            for file in exported.files:
                self._load(aside, file)
                failpoint("import.after_file")
                bar.advance(file.rows)
            self._require_whole(aside, day, exported)
            failpoint("import.before_marks")
            left_out = leave_out(self._client, self._marks(), day, aside)
            failpoint("import.before_publish")
            self._publish(day, exported, aside)
            failpoint("import.after_publish")
        return left_out

    def _publish(self, day: date, exported: Day, aside: str) -> None:
        """Let the table aside be the day.

        Of two imports that do so at one moment, parts of both may stay (docs/decisions/parquet.md).
        So what is there is looked at, and put there again; whoever was last sees all of it.

        Raises:
            StartupError: somebody else goes on putting it there.
        """
        parameters = {"log": self._log, "day": day}
        for _ in range(_PUBLISHED_AT_MOST):
            self._client.command(f"{_REPLACE} {aside}", parameters=parameters)
            if tally_with_forgotten(self._client, self._log, day) == exported.partitions:
                return
            time.sleep(random.random())  # noqa: S311  # not in step with the other
        raise StartupError(
            f"{day} was put into imported_events {_PUBLISHED_AT_MOST} times and is not there as "
            f"{self._folder.path} has it: another import is at work. Run it again when that has "
            "ended."
        )

    def _load(self, aside: str, file: File) -> None:
        with (self._folder.path / file.name).open("rb") as opened:
            self._client.raw_insert(
                _inlet_of(aside), list(COLUMNS), opened, settings=_INSERT, fmt="Parquet"
            )

    def _require_whole(self, aside: str, day: date, exported: Day) -> None:
        """See that the table aside has the day as the manifest has it, and nothing else.

        Raises:
            StartupError: it has not.
        """
        found = tally_imported(self._client, self._log, day, aside)
        fault = describe_difference(exported.partitions, found)
        strangers = count_strangers(self._client, self._log, day, aside)
        if strangers:
            fault = f"{strangers:,} rows are of another log or day"
        if fault:
            raise StartupError(
                f"The files of {day} do not have what {self._folder.path} says of them: {fault}. "
                "Nothing of the day was imported."
            )

    @contextmanager
    def _table_aside(self) -> Iterator[str]:
        """Give a table like `imported_events`, with what fills it, for a day."""
        aside = f"{ASIDE}{secrets.token_hex(4)}"
        names = {"aside": aside, "inlet": _inlet_of(aside), "view": f"{aside}_view"}
        try:
            self._client.command(_CREATE, parameters={"aside": aside})
            self._client.command(_CREATE_INLET.format_map(names))
            self._client.command(_CREATE_VIEW.format_map(names))
            yield aside
        finally:
            for name in reversed(names.values()):
                self._drop(name)

    def _drop_left(self) -> None:
        """Drop the tables of runs that were killed."""
        parameters = {"aside": ASIDE, "seconds": _LEFT_AFTER_S}
        for (aside,) in self._client.query(_SELECT_LEFT, parameters=parameters).result_rows:
            self._drop(aside)

    def _drop(self, aside: str) -> None:
        self._client.command(_DROP, parameters={"aside": aside})


def _marks_of(settings: Settings, log: str, imported: str) -> Callable[[], Marks]:
    """Return what reads the marks for rows of a log: those of another log are not known here."""
    return lambda: asyncio.run(read_marks(settings, log)) if imported == log else Marks(imported)


def _inlet_of(aside: str) -> str:
    """Return the name of the table that takes the rows of files for a table aside."""
    return f"{aside}_inlet"


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what a server answers in the middle into a sentence."""
    try:
        with told_what_then("run this again: days that were imported are there."):
            yield
    except OSError as error:
        raise StartupError(
            f"A file cannot be read: {error}. Nothing of its day was imported."
        ) from error
