"""How many rows a day has in the tables, and of which offsets.

In: a client, a table, a day. Out: counts. Never: a look into rows where a partition's own count
will do.
"""

from __future__ import annotations

import re
from datetime import date

from cli.parquet.manifest import Span
from runtime.clickhouse import Client

EVENTS, IMPORTED_EVENTS = "events", "imported_events"

# ClickHouse keeps the counts of whole table partitions: this reads no row.
_SELECT_DAYS = """
SELECT toDate(received_at) AS day, count() FROM events GROUP BY day ORDER BY day
"""
_SELECT_TALLY = """
SELECT kafka_partition, count(), min(kafka_offset), max(kafka_offset) FROM {table:Identifier}
WHERE toDate(received_at) = {day:Date} GROUP BY kafka_partition
"""
_SELECT_TALLY_OF_LOG = """
SELECT kafka_partition, count(), min(kafka_offset), max(kafka_offset) FROM {table:Identifier}
WHERE log_id = {log:String} AND toDate(received_at) = {day:Date} GROUP BY kafka_partition
"""
_SELECT_TALLY_WITH_FORGOTTEN = """
SELECT kafka_partition, count(), min(kafka_offset), max(kafka_offset)
FROM (
    SELECT kafka_partition, kafka_offset FROM imported_events
    WHERE log_id = {log:String} AND toDate(received_at) = {day:Date}
    UNION ALL
    SELECT DISTINCT kafka_partition, kafka_offset FROM imported_events_forgotten
    WHERE log_id = {log:String} AND day = {day:Date}
)
GROUP BY kafka_partition
"""
# What is left of a row was received at the end of its day.
_SELECT_TALLY_FORGOTTEN = """
SELECT kafka_partition, uniqExact(kafka_offset), min(kafka_offset), max(kafka_offset)
FROM events_forgotten WHERE received_at = toDateTime64({day:Date} + 1, 3, 'UTC')
GROUP BY kafka_partition
"""
_SELECT_STRANGERS = """
SELECT count() FROM {table:Identifier}
WHERE log_id != {log:String} OR toDate(received_at) != {day:Date}
"""
_SELECT_ENGINE = """
SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'events'
"""
_DAYS_KEPT = re.compile(r"received_at\) \+ toIntervalDay\((\d+)\)")

Tally = dict[int, Span]
"""Rows, first and last offset of a day, by Kafka partition."""


def count_days(client: Client) -> dict[date, int]:
    """Return how many events were received on each day that the table `events` has."""
    return {row[0]: row[1] for row in client.query(_SELECT_DAYS).result_rows}


def tally_events(client: Client, day: date) -> Tally:
    """Return what the table `events` has of a day."""
    return _tally(client, _SELECT_TALLY, {"table": EVENTS, "day": day})


def tally_imported(client: Client, log: str, day: date, table: str = IMPORTED_EVENTS) -> Tally:
    """Return what a table of imported events has of a log's day."""
    return _tally(client, _SELECT_TALLY_OF_LOG, {"table": table, "log": log, "day": day})


def tally_with_forgotten(client: Client, log: str, day: date) -> Tally:
    """Return what `imported_events` has of a log's day, with the places of what is left out."""
    return _tally(client, _SELECT_TALLY_WITH_FORGOTTEN, {"log": log, "day": day})


def tally_forgotten(client: Client, day: date) -> Tally:
    """Return what is left of a day's rows in `events` whose users are forgotten."""
    return _tally(client, _SELECT_TALLY_FORGOTTEN, {"day": day})


def count_strangers(client: Client, log: str, day: date, table: str) -> int:
    """Return how many rows of a table are of another log or day."""
    parameters = {"table": table, "log": log, "day": day}
    return int(client.query(_SELECT_STRANGERS, parameters=parameters).first_row[0])


def read_days_kept(client: Client) -> int:
    """Return for how many days from its receipt an event is kept; 0 = for ever.

    The table says so itself: the settings of this process may differ from those of `migrate`.
    """
    found = _DAYS_KEPT.search(client.query(_SELECT_ENGINE).first_row[0])
    return int(found[1]) if found else 0


def _tally(client: Client, select: str, parameters: dict[str, object]) -> Tally:
    rows = client.query(select, parameters=parameters).result_rows
    return {row[0]: Span(row[1], row[2], row[3]) for row in rows}
