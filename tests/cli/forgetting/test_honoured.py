"""What honours a mark: the writer's start, a repair, a backup that is put back, a replay.

The tests go on where the one before has ended, and each must leave the pipeline whole.
"""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from cli.migrate import migrate
from runtime.clickhouse import connect_sync
from tests.cli.forgetting.lives import live
from tests.cli.forgetting.living import Living
from tests.processors.writer.pipeline import Pipeline

pytestmark = pytest.mark.long

USER, OTHERS = "ada-lovelace", ("grace", "alan", "barbara")
COPIED = (
    *("events", "sessions", "rejected_events", "user_counts_15m"),
    *("events_forgotten", "sessions_forgotten", "rejected_events_forgotten"),
)


@pytest.fixture(scope="module")
def forgotten(living: Living) -> Living:
    """A pipeline at rest; the last rows of every kind were those of a user who is forgotten."""
    with living.working():
        live(living, *OTHERS)
        live(living, USER)
        living.counted = living.of_all()
        back_up(living)
        living.say("forget", USER, "--yes")
    return living


def back_up(living: Living) -> None:
    """Copy the tables that forgetting changes."""
    for table in COPIED:
        living.sql(f"CREATE TABLE backup_{table} AS {table}")
        copy(living, table, f"backup_{table}")


def put_back(living: Living) -> None:
    """Put the tables back, and drop the copies."""
    for table in COPIED:
        living.sql(f"TRUNCATE TABLE {table}")
        copy(living, f"backup_{table}", table)
        living.sql(f"DROP TABLE backup_{table} SYNC")


def copy(living: Living, source: str, target: str) -> None:
    """Add the parts of one table to another one; no view sees it."""
    for (part,) in living.rows(
        "SELECT DISTINCT partition_id FROM system.parts "
        "WHERE database = currentDatabase() AND table = {source:String} AND active",
        source=source,
    ):
        living.sql(f"ALTER TABLE {target} ATTACH PARTITION ID '{part}' FROM {source}")


def is_right(living: Living, *users: str) -> None:
    """The users are nowhere, the counts of all are as they were, and the writer begins."""
    for user_id in users:
        found = living.traces_of(user_id)
        assert [each for each in found if not each.startswith("backup_")] == []
    assert living.of_all() == living.counted
    assert "✗" not in living.say("verify")
    with living.working():
        living.wait_until_done()
        living.require_alive()


def cut_off(living: Living, failpoint: str) -> None:
    """Kill a repair at a point."""
    killed = living.run_process("repair", "--yes", failpoint=failpoint)
    assert killed.returncode == -signal.SIGKILL, killed.stdout


def are_counted_as_before(living: Living) -> None:
    """What was counted again is as it was, but for how many different users there were."""
    now = living.of_all()
    for select, rows in living.counted.items():
        assert [row[:-1] for row in rows] == [row[:-1] for row in now[select]]
    living.counted = now


def test_the_writer_begins_although_the_highest_rows_are_gone(forgotten: Living) -> None:
    is_right(forgotten, USER)


def test_a_backup_that_is_put_back_is_forgotten_again(forgotten: Living) -> None:
    put_back(forgotten)
    assert "events.user_id" in forgotten.traces_of(USER)
    said = forgotten.say("verify", code=1)
    for part in ("events has, though their users are forgotten,", "✗ users who are forgotten: 1"):
        assert part in said
    dry = forgotten.say("repair", code=1)
    assert "events has 6 rows of users who are forgotten" in dry
    assert "take out the rows of users who are forgotten" in dry
    cut_off(forgotten, "after_forgotten")
    forgotten.say("repair", "--yes")
    is_right(forgotten, USER)


def test_a_repair_of_broken_tables_brings_nobody_back(forgotten: Living) -> None:
    before = forgotten.of_others(USER)
    forgotten.sql(
        "ALTER TABLE events DELETE WHERE kafka_offset % 2 = 0",
        "ALTER TABLE events_forgotten DELETE WHERE kafka_offset % 3 = 0",
        "ALTER TABLE rejected_events_forgotten DELETE WHERE kafka_offset % 2 = 0",
        "ALTER TABLE sessions DELETE WHERE 1",
        "ALTER TABLE event_counts_15m DELETE WHERE event = 'buy'",
        "ALTER TABLE user_counts_15m DELETE WHERE kafka_partition = 1",
        "ALTER TABLE session_stats_15m DELETE WHERE 1",
        "INSERT INTO events_forgotten SELECT * REPLACE(100000 AS kafka_offset) "
        "FROM events_forgotten LIMIT 1",
    )
    assert "✗" in forgotten.say("verify", code=1)
    forgotten.say("repair", "--yes")
    assert forgotten.of_others(USER) == before
    are_counted_as_before(forgotten)
    is_right(forgotten, USER)


def test_what_is_left_of_a_row_whose_user_is_not_forgotten_is_wrong(forgotten: Living) -> None:
    before = forgotten.of_others(USER)
    lost = "user_id = 'grace' AND event = 'play'"
    columns = "timestamp, event, received_at, kafka_partition, kafka_offset"
    forgotten.sql(
        f"INSERT INTO events_forgotten SELECT {columns} FROM events WHERE {lost}",
        f"ALTER TABLE events DELETE WHERE {lost}",
    )
    assert "without a record that was committed" in forgotten.say("verify", code=1)
    forgotten.say("repair", "--yes")
    assert forgotten.of_others(USER) == before
    is_right(forgotten, USER)


def test_tables_that_were_made_anew(forgotten: Living) -> None:
    before = forgotten.of_others(USER)
    forgotten.sql(f"DROP DATABASE {forgotten.settings.namespace}")
    migrate(forgotten.settings)
    forgotten.clickhouse.close()
    forgotten.clickhouse = connect_sync(forgotten.settings)
    cut_off(forgotten, "after_gone")
    forgotten.say("repair", "--yes")
    assert forgotten.of_others(USER) == before
    are_counted_as_before(forgotten)
    is_right(forgotten, USER)


def test_a_backup_of_records_that_kafka_no_longer_has(forgotten: Living) -> None:
    user_id = "second"
    with forgotten.working():
        live(forgotten, user_id, "third")
        forgotten.counted = forgotten.of_all()
        back_up(forgotten)
        forgotten.say("forget", user_id, "--yes")
        before = forgotten.of_others(user_id)
    lose_records(forgotten)
    put_back(forgotten)
    assert "✗ users who are forgotten: 2" in forgotten.say("verify", code=1)
    forgotten.say("repair", "--yes")
    assert forgotten.of_others(user_id) == before
    is_right(forgotten, user_id, USER)


def lose_records(living: Living) -> None:
    """Let all logs begin at their ends, as retention does when nothing comes."""
    pipeline: Any = Pipeline.__new__(Pipeline)
    pipeline.settings = living.settings
    for topic in (living.topics.accepted, living.topics.sessions, living.topics.rejected):
        for number in range(living.settings.partitions):
            pipeline.delete_records(topic, -1, partition=number)


def test_a_replay_of_somebody_who_is_forgotten_is_refused(forgotten: Living) -> None:
    user_id = "fourth"
    body = json.dumps({"event": "play", "timestamp": "yesterday", "user_id": user_id}).encode()
    with forgotten.working():
        forgotten.send(body, body)
        forgotten.wait_until_done()
        listed = forgotten.say("rejected", "list", "--format", "ndjson").splitlines()
        first, second = [json.loads(line)["id"] for line in listed[:2]]
        replay = ("rejected", "replay", "--unset", "timestamp", "--yes")
        assert "1 sent" in forgotten.say(*replay, first)
        forgotten.wait_until_done()
        assert forgotten.topics.replayed in forgotten.traces_of(user_id)
        killed = forgotten.run_process("forget", user_id, "--yes", failpoint="forget.after_mark")
        assert killed.returncode == -signal.SIGKILL
        for options in ((), ("--set", f"user_id={user_id}"), ("--set", "user_id=somebody")):
            said = forgotten.say(*replay, *options, second, code=1)
            assert "stays as it is: its user is forgotten" in said
        said = forgotten.say("forget", user_id, "--yes")
        assert "the user's name taken out of 1 mark" in said
        assert forgotten.traces_of(user_id) == []
        said = forgotten.say(*replay, first)
        assert "was replayed already, as an event of a user who is forgotten" in said
        assert "is not kept" in forgotten.say(*replay, second, code=1)
