"""Export and import on the local stack: by the users that it has for them, asked by an analyst."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect

from tests.benchmarks.programs import beside_python
from tests.cli.parquet.events import day_before
from tests.environments import foreign_environment
from tests.running_stack import RunningStack

# Of a partition that the topic does not have: the rollups keep their heights when they are deleted,
# and the writer must not find itself behind them.
_INSERT = """
INSERT INTO events
SELECT toString(number), 'exported', 'play', at, at, '{"n":1.0}', '', number, 999, number
FROM (SELECT number, toDateTime64({day:String}, 3, 'UTC') AS at FROM numbers(100))
"""


def test_the_stack_has_a_user_for_it(stack: RunningStack, tmp_path: Path) -> None:
    admin = clickhouse_connect.get_client(dsn=stack.clickhouse, database="track")
    admin.command(_INSERT, parameters={"day": str(day_before(1))})
    assert urlsplit(stack.stack.exporter).username == "exporter"
    exports = str(tmp_path / "exports")
    said = track(stack, "export", "--to", exports)
    assert f"✓ {day_before(1)}: 100 events" in said
    admin.command("DELETE FROM events WHERE user_id = 'exported'")
    assert f"✓ {day_before(1)}: 100 events imported" in track(stack, "import", exports)
    analyst = clickhouse_connect.get_client(dsn=stack.stack.analyst, database="track")
    asked = "SELECT count(), sum(metadata.n.:Float64) FROM all_events WHERE user_id = 'exported'"
    assert [tuple(row) for row in analyst.query(asked).result_rows] == [(100, 100.0)]
    for client in (admin, analyst):
        client.close()


def track(stack: RunningStack, *arguments: str) -> str:
    """Run a command on the stack; return what it says."""
    done = subprocess.run(
        [beside_python("track"), *arguments],
        env={**foreign_environment(), "TRACK_HOME": str(stack.home)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
