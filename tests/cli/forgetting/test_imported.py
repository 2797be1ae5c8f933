"""`track forget` and imported days, by the commands: neither brings back what the other took out.

The tests go on where the one before has ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.parquet.export import export
from cli.parquet.loading import import_days
from tests.cli.forgetting.lives import live
from tests.cli.forgetting.living import Living
from tests.cli.parquet.events import day_before

pytestmark = pytest.mark.long

DAY = day_before(2)
OTHERS = ("grace", "alan", "barbara")
ROWS = 3
OTHER_LOG = "e" * 32
# A day that is over, as the writer would have inserted it: everybody has rows of old.
_INSERT = """
INSERT INTO events
SELECT
    concat({user:String}, '-', toString(number)), {user:String}, 'buy', at, at, '{"n":1.0}', '', 0,
    {partition:UInt16}, {first:UInt64} + number
FROM (SELECT number, toDateTime64({day:String}, 3, 'UTC') AS at FROM numbers({rows:UInt64}))
"""
_NUMBER = "SELECT count() FROM {table:Identifier} WHERE user_id = {user:String}"
_OF_OTHERS = (
    "SELECT event_id, user_id, kafka_partition, kafka_offset FROM all_events "
    "WHERE user_id != {user:String} ORDER BY ALL"
)


@pytest.fixture
def folder(living: Living, tmp_path: Path) -> Iterator[Path]:
    """A day in files of which the tables have nothing; all users have come since."""
    users = ("first", "second", "third", *OTHERS)
    with living.working():
        live(living, *users)
    for number, user_id in enumerate(users):
        parameters = {
            "user": user_id, "partition": living.partition_of(user_id), "day": str(DAY),
            "first": 1_000_000 + 100 * number, "rows": ROWS,
        }  # fmt: skip
        living.clickhouse.command(_INSERT, parameters=parameters)
    assert export(living.settings, tmp_path)
    living.sql(f"ALTER TABLE events DROP PARTITION '{DAY}'", *emptied(living))
    yield tmp_path
    living.sql("TRUNCATE TABLE imported_events", "TRUNCATE TABLE imported_events_forgotten")


def emptied(living: Living) -> list[str]:
    """Return what takes the counts of the day out that was inserted by hand."""
    return [
        f"ALTER TABLE {table} DELETE WHERE toDate(bucket) = '{DAY}'"
        for table in living.tables()
        if table in ("event_counts_15m", "user_counts_15m")
    ]


def numbers(living: Living, user_id: str) -> list[int]:
    """Return how many rows of a user each table and the view have."""
    tables = ("events", "imported_events", "all_events")
    return [living.rows(_NUMBER, table=table, user=user_id)[0][0] for table in tables]


@contextmanager
def paused_import(living: Living, folder: Path, failpoint: str) -> Iterator[subprocess.Popen[str]]:
    """Let an import stand still at a point while the block lasts; it goes on at the end of it."""
    process = living.start_process("import", str(folder), failpoint=f"{failpoint}:1:pause")
    try:
        seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert seen is not None
        assert seen.si_code == os.CLD_STOPPED, process.communicate()[0]
        yield process
    finally:
        process.kill()
        process.communicate()


def goes_on(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Let a paused command end; return its exit code, and what it says."""
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def is_nowhere(living: Living, folder: Path, user_id: str, others: object) -> None:
    """The user is in no table; everybody else is as before; nothing is complained about."""
    assert living.traces_of(user_id) == []
    assert living.rows(_OF_OTHERS, user=user_id) == others
    said = living.run("verify", "--export", str(folder)).output
    # The day is too young to have expired: of this the test's own doing is complained about.
    assert [line for line in said.splitlines() if line.startswith("✗")] == [
        f"✗ {folder} and events: 1 day, 18 rows"
    ]
    assert "0 days imported now" in living.say("import", str(folder))


def test_whoever_is_forgotten_is_in_no_imported_day(living: Living, folder: Path) -> None:
    user_id = "first"
    import_days(living.settings, folder)
    assert numbers(living, user_id) == [6, ROWS, 6 + ROWS]
    others = living.rows(_OF_OTHERS, user=user_id)
    living.sql(
        f"INSERT INTO imported_events SELECT * REPLACE('{OTHER_LOG}' AS log_id) "
        f"FROM imported_events WHERE user_id = '{user_id}'"
    )
    dry = living.say("forget", user_id)
    assert f"imported_events: {ROWS} rows\n" in dry
    assert "in files of `track export`" in dry
    assert f"in imported_events: {ROWS} rows of other logs under the same user_id" in dry
    living.sql(f"ALTER TABLE imported_events DROP PARTITION ('{OTHER_LOG}', '{DAY}')")
    with living.working():
        said = living.say("forget", user_id, "--yes")
        assert f"✓ imported_events: {ROWS} rows gone" in said
        assert "of other logs" not in said
        assert numbers(living, user_id) == [0, 0, 0]
        is_nowhere(living, folder, user_id, others)


def test_an_import_is_overtaken_by_a_forgetting(living: Living, folder: Path) -> None:
    with living.working():
        # Loaded and about to be shown, but not told of the mark: its table is dropped.
        with paused_import(living, folder, "import.before_publish") as process:
            assert "imported_events: 0 rows gone" in living.say("forget", "second", "--yes")
            code, said = goes_on(process)
        assert code == 70, said
        assert "run this again" in said
        assert numbers(living, "second") == [0, 0, 0]
        # Shown a moment ago: it is cleared.
        with paused_import(living, folder, "import.after_publish") as process:
            assert numbers(living, "third")[1] == ROWS
            assert numbers(living, "second") == [0, 0, 0]
            others = living.rows(_OF_OTHERS, user="third")
            said = living.say("forget", "third", "--yes")
            assert f"imported_events: {ROWS} rows gone" in said
            code, said = goes_on(process)
        assert code in (0, 70), said
        is_nowhere(living, folder, "third", others)
        is_nowhere(living, folder, "second", others)


def test_rows_that_a_backup_has_brought_back_are_said_and_mended(
    living: Living, folder: Path
) -> None:
    user_id = "fourth"
    with living.working():
        live(living, user_id)
        living.say("forget", user_id, "--yes")
    import_days(living.settings, folder)
    living.sql(
        f"INSERT INTO imported_events SELECT * REPLACE('{user_id}' AS user_id, "
        f"{living.partition_of(user_id)} AS kafka_partition) FROM imported_events LIMIT 2"
    )
    assert "imported_events has 2 rows of users who are forgotten" in living.say("verify", code=1)
    living.say("repair", "--yes")
    assert living.traces_of(user_id) == []
    assert "✗" not in living.say("verify")
