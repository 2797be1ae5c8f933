"""A day of `events` as Parquet, in pieces of the table's own order.

In: a day, keys that lie between two pieces. Out: statements with their parameters. Never: a row in
two pieces or in none, whatever the keys are; a type of a metadata value that gets lost.

A file is read whole into ClickHouse's memory when it is imported, so a day is many files. They
follow the table's primary key, so that each reads its own part of the table alone; ClickHouse uses
the key for conditions written out column by column, not for a comparison of tuples (seen, 26.7).

JSON text has one kind of number: ClickHouse writes the double 12.0 as 12, which would come back as
an integer. So whole doubles get their `.0` back. Which they are shows in the text with doubles in
quotes, token by token beside the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from runtime.clickhouse import Client

COLUMNS = (
    "log_id",
    "event_id",
    "user_id",
    "event",
    "timestamp",
    "received_at",
    "metadata",
    "source",
    "log_offset",
    "kafka_partition",
    "kafka_offset",
)
"""The columns of a file: those of the table `imported_events`."""

ROWS_A_FILE = 250_000
"""About; with the longest metadata that is a gigabyte of text, and mostly 15 MB in a file."""

_SELECT_BOUNDS = """
SELECT toString(day), hex(event), hex(user_id), toUnixTimestamp64Milli(timestamp)
FROM (
    SELECT *, rowNumberInAllBlocks() AS number FROM (
        SELECT toDate(timestamp) AS day, event, user_id, timestamp FROM events
        WHERE toDate(received_at) = {received:Date}
        ORDER BY day, event, user_id, timestamp
    )
)
WHERE number > 0 AND number % {rows:UInt64} = 0
"""
_TOKENS = r'"(?:[^"\\\\]|\\\\.)*"|[^",:\\[\\]{}]+|[,:\\[\\]{}]'
# The text without quotes is made for rows alone that have a double, or a text that looks like one.
_SELECT_PIECE = """
SELECT
    {log:String} AS log_id, event_id, user_id, event, timestamp, received_at,
    multiIf(
        NOT match(quoted, '[:,\\\\[]"-?[0-9]'), quoted,
        NOT match(quoted, '[:,\\\\[]"-?[0-9]+"'), toJSONString(metadata),
        arrayStringConcat(arrayMap(
            (one, other) -> if(one != other AND match(one, '^-?[0-9]+$'), one || '.0', one),
            extractAll(toJSONString(metadata), '%(tokens)s'), extractAll(quoted, '%(tokens)s')
        ))
    ) AS metadata,
    source, log_offset, kafka_partition, kafka_offset
FROM (
    SELECT *, toJSONString(metadata) AS quoted FROM events
    WHERE toDate(received_at) = {received:Date}%(range)s
    SETTINGS output_format_json_quote_64bit_floats = 1
)
"""
_AT_OR_AFTER = """(
    toDate(timestamp) > {%(bound)s_day:Date} OR toDate(timestamp) = {%(bound)s_day:Date} AND (
        event > unhex({%(bound)s_event:String}) OR event = unhex({%(bound)s_event:String}) AND (
            user_id > unhex({%(bound)s_user:String})
            OR user_id = unhex({%(bound)s_user:String})
            AND timestamp >= fromUnixTimestamp64Milli({%(bound)s_ms:Int64}, 'UTC')
        )
    )
)"""

SETTINGS: Mapping[str, str | int] = {
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_escape_forward_slashes": 0,
    # What is encoded at once is held in memory: a row group, by one thread.
    "output_format_parquet_row_group_size": 50_000,
    "output_format_parquet_row_group_size_bytes": 64 * 1024 * 1024,
    "output_format_parquet_parallel_encoding": 0,
    "max_threads": 2,
    "max_block_size": 8192,
}
"""How ClickHouse writes a piece."""


class Bound(NamedTuple):
    """A place in the table's order: day of the timestamp, event and user in hex, milliseconds."""

    day: str
    event: str
    user: str
    ms: int


class Piece(NamedTuple):
    """A SELECT without its format, and its parameters."""

    statement: str
    parameters: Mapping[str, object]


def read_bounds(client: Client, day: date, rows_a_file: int) -> list[Bound]:
    """Return the places at which a day is cut into pieces of about so many rows, in order."""
    parameters = {"received": day, "rows": rows_a_file}
    settings = {"max_threads": 2}
    rows = client.query(_SELECT_BOUNDS, parameters=parameters, settings=settings).result_rows
    # Two digits of hex a byte keep the order of the bytes, which is the table's.
    return sorted({Bound(*row) for row in rows})


def pieces_of(log: str, day: date, bounds: Sequence[Bound]) -> list[Piece]:
    """Return the statements of a day: each row of it is in exactly one."""
    edges = [None, *bounds, None]
    return [_piece(log, day, lower, upper) for lower, upper in pairwise(edges)]


def _piece(log: str, day: date, lower: Bound | None, upper: Bound | None) -> Piece:
    conditions = ""
    parameters: dict[str, object] = {"log": log, "received": day}
    for name, bound, word in (("lower", lower, ""), ("upper", upper, "NOT ")):
        if bound is not None:
            conditions += f"\n        AND {word}{_AT_OR_AFTER % {'bound': name}}"
            parameters |= {f"{name}_{field}": value for field, value in bound._asdict().items()}
    return Piece(_SELECT_PIECE % {"tokens": _TOKENS, "range": conditions}, parameters)
