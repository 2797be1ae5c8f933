"""Every row once, wherever the writer is killed: tables and rollups are compared with the log."""

from __future__ import annotations

import time

import pytest

from processors.writer.owner import FAILPOINTS
from tests.processors.writer.pipeline import Pipeline

_OF_REFUSALS = ("after_refused", "after_refusals")
_OF_REDO = ("before_redo", "after_redo")
_OF_FILL = ("before_fill", "after_fill")
_OF_EVERY_BLOCK = [name for name in FAILPOINTS if name not in (*_OF_REFUSALS, *_OF_REDO, *_OF_FILL)]


def test_nothing_is_lost_or_doubled_without_a_kill(pipeline: Pipeline) -> None:
    pipeline.produce(300)
    with pipeline.writer() as process:
        pipeline.wait_until_done(40, process)
        pipeline.produce(200)
        pipeline.wait_until_done(60, process)
    pipeline.assert_tables_equal_log()
    pipeline.run_until_done()
    pipeline.assert_tables_equal_log()


@pytest.mark.parametrize("passing", [1, pytest.param(5, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", _OF_EVERY_BLOCK)
def test_a_kill_between_the_steps_of_a_block(pipeline: Pipeline, name: str, passing: int) -> None:
    pipeline.produce(300)
    pipeline.run_until_killed(f"{name}:{passing}")
    pipeline.produce(100)
    pipeline.run_until_done()
    pipeline.assert_tables_equal_log()


@pytest.mark.long
@pytest.mark.parametrize("name", _OF_REDO)
@pytest.mark.parametrize("before", ["before_send", "after_insert"])
def test_a_kill_while_a_range_is_inserted_again(pipeline: Pipeline, before: str, name: str) -> None:
    pipeline.produce(300)
    pipeline.run_until_killed(f"{before}:2")
    pipeline.run_until_killed(f"{name}:1")
    pipeline.produce(100)
    pipeline.run_until_done()
    pipeline.assert_tables_equal_log()


@pytest.mark.parametrize("name", [*_OF_REFUSALS, "after_insert", "before_send"])
def test_a_kill_while_rows_are_refused(pipeline: Pipeline, name: str) -> None:
    pipeline.produce(300, poison=3)
    pipeline.run_until_killed(f"{name}:1")
    pipeline.run_until_done()
    pipeline.assert_tables_equal_log(refused=3)
    pipeline.run_until_done()
    pipeline.assert_tables_equal_log(refused=3)


@pytest.mark.parametrize("name", _OF_FILL)
def test_a_kill_while_a_rollup_is_filled(pipeline: Pipeline, name: str) -> None:
    pipeline.produce(300)
    pipeline.run_until_done()
    pipeline.clickhouse.command("TRUNCATE TABLE user_counts_15m")
    pipeline.run_until_killed(f"{name}:2")
    pipeline.run_until_done()
    pipeline.assert_tables_equal_log()


def _lose(pipeline: Pipeline, table: str) -> None:
    """Let a table lose its rows but not their tokens, as a crash of ClickHouse can."""
    pipeline.clickhouse.command(
        f"ALTER TABLE {table} DELETE WHERE 1", settings={"mutations_sync": 1}
    )


def test_a_rollup_that_knows_a_token_but_not_its_rows_is_filled(pipeline: Pipeline) -> None:
    pipeline.produce(300)
    pipeline.run_until_killed("after_insert:1")
    _lose(pipeline, "user_counts_15m")
    _lose(pipeline, "event_counts_15m")
    pipeline.run_until_done()
    pipeline.assert_tables_equal_log()


def test_a_table_that_knows_a_token_but_not_its_rows_ends_the_writer(pipeline: Pipeline) -> None:
    pipeline.produce(300)
    pipeline.run_until_killed("after_insert:1")
    for table in ("events", "sessions", "rejected_events"):
        _lose(pipeline, table)
    said = pipeline.refusal()
    assert "which hold" in said
    assert "track repair" in said


@pytest.mark.long
def test_writers_that_join_and_leave(pipeline: Pipeline) -> None:
    with pipeline.writer() as first:
        for _ in range(3):
            pipeline.produce(200)
            with pipeline.writer() as second:
                pipeline.produce(200)
                time.sleep(1)
                pipeline.produce(200)
            assert second.returncode == 0
        pipeline.wait_until_done(60, first)
    assert first.returncode == 0
    pipeline.assert_tables_equal_log()
