"""The tables of one namespace with events of some days, and what is in tables and files.

In: settings of a namespace of its own. Out: rows as the writer would insert them. Never: the
export's own statements on the side that judges.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from cli.migrate import migrate
from cli.parquet.days import begins_ms
from processors.writer.storage import LINES
from runtime.clickhouse import connect_sync
from runtime.settings import Settings

DAY_MS = 86_400_000
_OF_SEVERAL = re.compile(r"\bArray\((?:Dynamic|JSON|Array)\b[^']*")
ROLLUPS = ("event_counts_15m", "user_counts_15m", "session_stats_15m")
IMPORTED = ("imported_events", "imported_events_forgotten")
TTL = "toDateTime(received_at) + toIntervalDay(30)"
RUN_TRACK = "import sys; from cli.main import track; track(sys.argv[1:])"
# Everything of a row; of metadata the text and the type of every path.
_EVERYTHING = """
SELECT kafka_partition, kafka_offset, event_id, user_id, event, source, log_offset,
    toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(received_at),
    toJSONString(metadata), toString(JSONAllPathsWithTypes(metadata)),
    {texts}
FROM {table} WHERE toDate(received_at) = '{day}' ORDER BY ALL
"""


def today() -> date:
    """Return the day that it is, also where a run goes over midnight."""
    return datetime.now(UTC).date()


def day_before(days: int) -> date:
    """Return the day so many days ago."""
    return today() - timedelta(days=days)


class Tables:
    """The tables of a pipeline whose events were inserted by hand."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        migrate(settings)
        self.clickhouse = connect_sync(settings)
        self._offsets = [0] * settings.partitions

    def reset(self) -> None:
        """Empty the tables, and let them be as they were made."""
        for name in reversed(self.names()):
            if name.startswith("imported_events_aside"):
                self.clickhouse.command(f"DROP TABLE {name} SYNC")
        for name in ("events", "events_forgotten", *IMPORTED, *ROLLUPS):
            self.clickhouse.command(f"TRUNCATE TABLE {name}")
        self.clickhouse.command(f"ALTER TABLE events MODIFY TTL {TTL}")
        self.clickhouse.command("SYSTEM START TTL MERGES events")

    def insert(self, day: date, count: int = 40, **columns: Any) -> None:
        """Insert events that were received on a day, one a minute."""
        self.insert_rows(day, ({"metadata": {"n": n}, **columns} for n in range(count)))

    def insert_rows(self, day: date, rows: Iterable[dict[str, Any]]) -> None:
        """Insert events with these columns; the others are made up."""
        lines = [self._line(day, number, columns) for number, columns in enumerate(rows)]
        statement = "INSERT INTO events FORMAT JSONEachRow"
        self.clickhouse.command(statement, data=b"\n".join(lines), settings=dict(LINES))

    def _line(self, day: date, number: int, columns: dict[str, Any]) -> bytes:
        partition = number % self.settings.partitions
        self._offsets[partition] += 2
        at = begins_ms(day) + number * 60_000 % DAY_MS
        metadata = columns.pop("metadata", {})
        raw = metadata if isinstance(metadata, str) else json.dumps(metadata)
        row = {
            "event_id": f"{day}-{number}", "user_id": f"user-{number % 7}",
            "event": ("play", "stop", "pause")[number % 3], "source": "web",
            "timestamp": at - number % 5 * 1000, "received_at": at, "log_offset": number,
            "kafka_partition": partition, "kafka_offset": self._offsets[partition],
        }  # fmt: skip
        line = json.dumps({**row, **columns})
        return f'{line[:-1]}, "metadata": {raw}}}'.encode()

    def rows(self, table: str, day: date) -> list[Sequence[Any]]:
        """Return all columns of a day's rows."""
        paths = [f"metadata.{name}" for name in ("s", "n", "l")]
        texts = ", ".join(f"toString({path}), dynamicType({path})" for path in paths)
        select = _EVERYTHING.format(table=table, day=day, texts=texts)
        return [
            tuple(map(_with_lists_alike, row)) for row in self.clickhouse.query(select).result_rows
        ]

    def scalar(self, select: str) -> Any:
        """Return the one value of a SELECT."""
        return self.clickhouse.query(select).first_row[0]

    def count(self, table: str, day: date | None = None) -> int:
        """Return how many rows a table has, of a day or in all."""
        where = f" WHERE toDate(received_at) = '{day}'" if day else ""
        return int(self.scalar(f"SELECT count() FROM {table}{where}"))

    def spans(self, day: date) -> dict[int, tuple[int, int, int]]:
        """Return rows, first and last offset of a day by partition."""
        rows = self.clickhouse.query(
            "SELECT kafka_partition, count(), min(kafka_offset), max(kafka_offset) FROM events "
            f"WHERE toDate(received_at) = '{day}' GROUP BY kafka_partition"
        ).result_rows
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def column(self, table: str, name: str) -> list[Any]:
        """Return a column of a table."""
        return [row[0] for row in self.clickhouse.query(f"SELECT {name} FROM {table}").result_rows]

    def names(self) -> list[str]:
        """Return the names of the tables."""
        rows = self.clickhouse.query("SHOW TABLES").result_rows
        return [row[0] for row in rows]

    def parts(self, table: str) -> list[str]:
        """Return the names of a table's parts that have rows."""
        rows = self.clickhouse.query(f"SELECT DISTINCT _part FROM {table} ORDER BY _part")
        return [row[0] for row in rows.result_rows]

    def read_file(self, path: Path, column: str) -> list[str]:
        """Return a text column of a Parquet file, as it stands there."""
        self.clickhouse.command(
            f"CREATE OR REPLACE TABLE of_file ({column} String) ENGINE = MergeTree ORDER BY ()"
        )
        with path.open("rb") as file:
            self.clickhouse.raw_insert("of_file", [column], file, fmt="Parquet")
        return self.column("of_file", column)

    def beside(self) -> Tables:
        """Return the same tables over a connection of its own, for another thread."""
        other = copy.copy(self)
        other.clickhouse = connect_sync(self.settings)
        return other

    def forget_events(self) -> None:
        """Let all events be gone, as retention does."""
        self.clickhouse.command("TRUNCATE TABLE events")

    def track(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command `track` as a process of its own."""
        return subprocess.run(
            [sys.executable, "-c", RUN_TRACK, *arguments],
            env=self.environment(**environment),
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of the command."""
        return {
            **os.environ,
            "TRACK_HOME": str(self.settings.home),
            "TRACK_KAFKA": self.settings.kafka,
            "TRACK_CLICKHOUSE": self.settings.clickhouse,
            "TRACK_NAMESPACE": self.settings.namespace,
            "TRACK_PARTITIONS": str(self.settings.partitions),
            **more,
        }

    def close(self) -> None:
        """Drop the database."""
        self.clickhouse.command(f"DROP DATABASE {self.settings.namespace}")
        self.clickhouse.close()


def _with_lists_alike(value: Any) -> Any:
    """Return a text of types with one word for those of lists of objects, lists or several kinds.

    ClickHouse takes the one that it has at hand from other rows of the block, which is so when
    events are written too. Their values are compared as text.
    """
    return _OF_SEVERAL.sub("List", value) if isinstance(value, str) else value


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder."""
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def files_of(folder: Path) -> list[str]:
    """Return the names of all Parquet files in a folder, drafts included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet"))
