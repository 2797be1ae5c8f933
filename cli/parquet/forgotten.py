"""Users who are forgotten, in imported events: their rows are left out, or taken out later.

In: marks, a table of imported events, a client of ClickHouse. Out: the table without the rows, and
the places of these in `imported_events_forgotten`. Never: a row of another log, whose users have
other marks; a user's id in a statement.

An import reads the marks when it has loaded a day, and `track forget` drops tables aside when the
mark is there. So a day that was loaded before the mark never gets its place behind it: it had it
before, and is cleared, or its import fails and is run again.
"""

from __future__ import annotations

from datetime import date

from cli.forgetting.rows import key_of, rows_of
from cli.mutations import INSERT, MUTATION, count_rows, delete_rows
from cli.parquet.tallies import IMPORTED_EVENTS
from contracts.forgetting import Marks, user_key
from runtime.clickhouse import AsyncClient, Client

ASIDE = f"{IMPORTED_EVENTS}_aside_"
"""How the names of tables begin that an import makes and drops."""

_DROP_NOTES = """
ALTER TABLE imported_events_forgotten DROP PARTITION ({log:String}, {day:Date})
"""
# Completed by a table and a condition.
_NOTE = """
INSERT INTO imported_events_forgotten (log_id, day, kafka_partition, kafka_offset)
SELECT log_id, toDate(received_at) AS day, kafka_partition, kafka_offset
FROM {table} WHERE {condition} AND (log_id, day, kafka_partition, kafka_offset) NOT IN
    (SELECT log_id, day, kafka_partition, kafka_offset FROM imported_events_forgotten)
"""
# The name of a table aside comes before those of the tables that fill it. Whoever fills it while
# they go is told so, and does not lose rows unheard.
_SELECT_ASIDE = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND startsWith(name, {aside:String}) ORDER BY name
"""
_DROP = "DROP TABLE IF EXISTS {aside:Identifier} SYNC"


def leave_out(client: Client, marks: Marks, day: date, aside: str) -> int:
    """Take what the marks cover out of a day's table aside; return how many rows there were.

    What was noted of the day before goes: it was of other files, or of rows that are here again.

    Raises:
        ClickHouseError: the server does not answer, or the table was dropped.
    """
    if not marks:
        return 0
    condition = _imported_rows_of(marks)
    client.command(_DROP_NOTES, parameters={"log": marks.log_id, "day": day})
    client.command(_NOTE.format(table=aside, condition=condition), settings=dict(INSERT))
    count = int(
        client.query(
            f"SELECT count() FROM {aside} WHERE {condition}",  # noqa: S608 - numbers and names of ours
            settings={"max_query_size": MUTATION["max_query_size"]},
        ).first_row[0]
    )
    if count:
        client.command(f"ALTER TABLE {aside} DELETE WHERE {condition}", settings=dict(MUTATION))
    return count


async def forget_imported(client: AsyncClient, marks: Marks) -> int:
    """Take what the marks cover out of imported events; return how many rows there were.

    Days that are on their way are dropped first.

    Raises:
        ClickHouseError: the server does not answer.
    """
    found = await client.query(_SELECT_ASIDE, parameters={"aside": ASIDE})
    for (aside,) in found.result_rows:
        await client.command(_DROP, parameters={"aside": aside})
    condition = _imported_rows_of(marks)
    await client.command(
        _NOTE.format(table=IMPORTED_EVENTS, condition=condition), settings=dict(INSERT)
    )
    return await delete_rows(client, IMPORTED_EVENTS, condition)


async def count_imported(client: AsyncClient, marks: Marks) -> int:
    """Return how many rows of imported events the marks cover.

    Raises:
        ClickHouseError: the server does not answer.
    """
    return await count_rows(client, IMPORTED_EVENTS, _imported_rows_of(marks))


async def count_of_other_logs(client: AsyncClient, log_id: str, user_id: str) -> int:
    """Return how many imported rows of other logs are of a user of the same id.

    Raises:
        ClickHouseError: the server does not answer.
    """
    condition = f"log_id != '{log_id}' AND {key_of(log_id)} = '{user_key(log_id, user_id)}'"
    return await count_rows(client, IMPORTED_EVENTS, condition)


def _imported_rows_of(marks: Marks) -> str:
    return f"log_id = '{marks.log_id}' AND {rows_of(marks)}"
