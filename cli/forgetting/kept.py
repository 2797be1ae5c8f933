"""What the tables keep of users, by marks: of those who are forgotten it must be nothing.

In: marks, a client of ClickHouse. Out: how many rows of each table they cover, and which rejected
records. Never: a change.
"""

from __future__ import annotations

from dataclasses import dataclass

from cli.forgetting.rejections import Found, find_rejections
from cli.forgetting.rows import NAMED, USER_COUNTS, counts_of, rows_of
from cli.mutations import count_rows
from cli.parquet.forgotten import count_imported
from cli.parquet.tallies import IMPORTED_EVENTS
from cli.repair.findings import counted
from contracts.forgetting import Marks
from contracts.tables import REJECTED_EVENTS
from runtime.clickhouse import AsyncClient


@dataclass(frozen=True, slots=True)
class Kept:
    """How many rows are kept, by table, and which rejected records are among them."""

    numbers: dict[str, int]
    found: Found

    def __bool__(self) -> bool:
        """Tell whether any row is."""
        return any(self.numbers.values())

    @property
    def sentences(self) -> list[str]:
        """What is kept of users who are forgotten, one sentence for each table."""
        return [
            f"{table} has {counted(number, 'row')} of users who are forgotten."
            for table, number in self.numbers.items()
            if number
        ]


async def find_kept(client: AsyncClient, namespace: str, marks: Marks, text: str = "") -> Kept:
    """Return what is kept; `text` is what rejections that cannot be read are searched for.

    Raises:
        ClickHouseError: the server does not answer.
    """
    numbers = {base.name: await count_rows(client, base.name, rows_of(marks)) for base in NAMED}
    numbers[IMPORTED_EVENTS] = await count_imported(client, marks)
    numbers[USER_COUNTS] = await count_rows(client, USER_COUNTS, counts_of(marks))
    found = await find_rejections(client, namespace, marks, text)
    return Kept({**numbers, REJECTED_EVENTS.name: len(found.covered)}, found)
