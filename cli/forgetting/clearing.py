"""Tables of rows, imported events and rejected records, cleared of users who are forgotten.

In: marks, a client of ClickHouse. Out: of each table, how many rows went. Never: a look at counts,
which other commands take care of, each in its way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from cli.forgetting.rejections import find_rejections, forget_rejections
from cli.forgetting.rows import NAMED, forget_rows, rows_of
from cli.parquet.forgotten import forget_imported
from cli.parquet.tallies import IMPORTED_EVENTS
from contracts.forgetting import Marks
from contracts.tables import REJECTED_EVENTS
from runtime.clickhouse import AsyncClient


async def clear_tables(
    client: AsyncClient, namespace: str, marks: Marks
) -> AsyncIterator[tuple[str, int]]:
    """Take out every row that the marks cover; give each table's name, and how many there were.

    Raises:
        ClickHouseError: the server does not answer.
    """
    for base in NAMED:
        yield base.name, await forget_rows(client, base, rows_of(marks))
    yield IMPORTED_EVENTS, await forget_imported(client, marks)
    found = await find_rejections(client, namespace, marks)
    yield REJECTED_EVENTS.name, await forget_rejections(client, namespace, found.covered)
