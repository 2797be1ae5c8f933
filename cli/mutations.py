"""Rows taken out of tables, waited for.

In: a client of ClickHouse, a table, a condition. Out: the table without the rows. Never: a
condition with text that somebody sent: a mutation binds nothing.
"""

from __future__ import annotations

from runtime.clickhouse import AsyncClient

# A mutation is waited for; its text holds many ranges.
MUTATION = {"mutations_sync": 1, "max_query_size": 1 << 24}
# Rows of a table, as many as they are, for another of the same structure.
INSERT = {
    "insert_deduplicate": 0,
    "max_partitions_per_insert_block": 0,
    "max_query_size": 1 << 24,
}


async def count_rows(client: AsyncClient, table: str, condition: str) -> int:
    """Return how many rows there are."""
    settings = {"max_query_size": MUTATION["max_query_size"]}
    select = f"SELECT count() FROM {table} WHERE {condition}"  # noqa: S608 - numbers and names of ours
    count: int = (await client.query(select, settings=settings)).first_row[0]
    return count


async def delete_rows(client: AsyncClient, table: str, condition: str) -> int:
    """Delete rows and wait until they are gone; return how many there were."""
    count = await count_rows(client, table, condition)
    if count:
        await client.command(f"ALTER TABLE {table} DELETE WHERE {condition}", settings=MUTATION)
    return count
