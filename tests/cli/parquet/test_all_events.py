"""The view `all_events`: every event once, whichever tables it is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.parquet.export import export
from cli.parquet.loading import import_days
from tests.cli.parquet.events import Tables, day_before

DAY, OTHER_DAY = day_before(1), day_before(2)


@pytest.fixture
def imported(tables: Tables, tmp_path: Path) -> Tables:
    """Two days that are in both tables."""
    tables.insert(DAY, 40)
    tables.insert(OTHER_DAY, 30)
    assert export(tables.settings, tmp_path)
    import_days(tables.settings, tmp_path)
    return tables


def shown(tables: Tables) -> dict[str, tuple[int, bool]]:
    """Return the imported days, with how many events they have and whether they are shown."""
    rows = tables.clickhouse.query("SELECT day, events, is_shown FROM imported_days").result_rows
    return {str(day): (events, is_shown) for day, events, is_shown in rows}


def drop_partition_of_kafka(tables: Tables, number: int) -> None:
    """Take a part of a day out of `events`, as retention does with the parts of a day."""
    tables.clickhouse.command(
        f"ALTER TABLE events DELETE WHERE toDate(received_at) = '{DAY}' "
        f"AND kafka_partition = {number} SETTINGS mutations_sync = 2"
    )


def test_a_day_that_is_still_there_is_taken_from_there(imported: Tables) -> None:
    assert shown(imported) == {str(DAY): (40, False), str(OTHER_DAY): (30, False)}
    assert imported.count("all_events") == 70
    imported.insert(DAY, 2)  # late ones, which were not exported
    assert imported.count("all_events", DAY) == 42


def test_a_day_that_goes_or_is_gone_is_taken_from_the_import(imported: Tables) -> None:
    rows = imported.rows("all_events", DAY)
    drop_partition_of_kafka(imported, 0)
    assert shown(imported)[str(DAY)] == (40, True)
    assert imported.rows("all_events", DAY) == rows
    drop_partition_of_kafka(imported, 1)
    imported.forget_events()
    assert imported.rows("all_events", DAY) == rows
    assert imported.count("all_events") == 70


def test_events_of_today_are_in_it_and_every_event_says_its_log(imported: Tables) -> None:
    imported.insert(day_before(0), 10)
    assert imported.count("all_events") == 80
    imported.clickhouse.command(f"ALTER TABLE events DROP PARTITION '{DAY}'")
    logs = imported.clickhouse.query(
        "SELECT log_id, uniqExact(kafka_partition, kafka_offset) FROM all_events GROUP BY log_id"
    ).result_rows
    assert [tuple(row) for row in logs] == [(imported.scalar("SELECT id FROM log"), 80)]


def test_no_row_is_read_to_decide_and_only_the_days_that_are_asked_for(imported: Tables) -> None:
    imported.clickhouse.command(f"ALTER TABLE events DROP PARTITION '{DAY}'")
    condition = f"toDate(received_at) = '{DAY}'"
    plan = "\n".join(
        row[0]
        for row in imported.clickhouse.query(
            f"EXPLAIN indexes = 1 SELECT user_id FROM all_events WHERE {condition}"
        ).result_rows
    )
    events, _, files = plan.partition("imported_events")
    assert "Parts: 0/" in events
    assert "Parts: 1/2" in files
    decided = imported.clickhouse.query("EXPLAIN SELECT * FROM imported_days").result_rows
    assert sum("_minmax_count_projection" in row[0] for row in decided) == 2


def test_an_analyst_needs_no_setting_for_it(imported: Tables) -> None:
    for setting in ("join_use_nulls = 1", "max_threads = 1", "max_rows_to_read = 100"):
        count = imported.scalar(f"SELECT count() FROM all_events SETTINGS {setting}")
        assert count == 70, setting
