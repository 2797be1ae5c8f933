"""The tables and views that an analyst asks, with their words.

In: a client. Out: names, comments and columns, those that are asked first coming first. Never: what
only the services use (targets of views, twins, notes of migrations).
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.tables import BASE_TABLES
from runtime.clickhouse import Client

_SELECT_COLUMNS = """
SELECT tables.name, tables.comment, tables.engine = 'View', columns.name, columns.type,
    columns.comment
FROM system.columns AS columns
INNER JOIN system.tables AS tables
    ON tables.database = columns.database AND tables.name = columns.table
WHERE columns.database = currentDatabase()
    AND (tables.engine = 'View' OR has({tables:Array(String)}, tables.name))
ORDER BY tables.engine = 'View', tables.name, columns.position
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type, its comment."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view, its comment and its columns."""

    name: str
    comment: str
    is_view: bool
    columns: list[Column]


def read_schema(client: Client) -> list[Relation]:
    """Return the tables, then the views, each by name.

    Raises:
        ClickHouseError: the server is away or refuses.
    """
    tables = [each.name for each in BASE_TABLES]
    rows = client.query(_SELECT_COLUMNS, parameters={"tables": tables}).result_rows
    relations: dict[str, Relation] = {}
    for name, comment, is_view, *column in rows:
        relation = relations.setdefault(name, Relation(name, comment, bool(is_view), []))
        relation.columns.append(Column(*column))
    return list(relations.values())
