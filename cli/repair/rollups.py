"""A rollup of a partition: what differs is counted again, what is not counted is added.

In: the rows of the base table, which are right by now. Out: the rollup as its view would have it.
Never: a bucket counted again whose rows are partly gone: it keeps what it has.

Buckets that can be counted again are emptied and filled, each batch in one insert. A run that is
cut off between the two leaves them empty, so the next one finds them different. An older bucket
gets the rows behind the last one that it counts, in one insert, and counts them from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cli.comparison.rollups import memory_of, view_of
from cli.mutations import MUTATION, delete_rows
from cli.repair.findings import RollupFaults, counted, find_in_rollup, unproven_in
from cli.repair.guard import Guard
from cli.repair.plan import MendRollup
from contracts.tables import (
    BaseTable,
    Rollup,
    add_statement,
    bucket_sizes_statement,
    refill_statement,
)
from processors.writer.storage import ONE_BLOCK
from runtime.clickhouse import AsyncClient
from runtime.failpoints import failpoint
from runtime.settings import Settings

_MOST_BUCKETS = 2_000
_MOST_ROWS = 1_000_000
# An insert here may be as large as a rollup, and nobody waits behind it.
_INSERT = {**ONE_BLOCK, "max_execution_time": 0, "insert_deduplicate": 0}


class RollupMender:
    """Mends rollups, one partition of one at a time."""

    def __init__(self, settings: Settings, client: AsyncClient, guard: Guard) -> None:
        self._settings = settings
        self._client = client
        self._guard = guard

    async def mend(self, step: MendRollup) -> list[str]:
        """Mend a rollup of a partition; return what was done, and what is left as it is."""
        base, rollup, partition = step.place.base, step.rollup, step.place.where.partition
        memory = memory_of(
            self._settings,
            base,
            rollup,
            whole=step.whole,
            received_from=step.received_from,
        )
        faults = await find_in_rollup(
            self._settings,
            self._client,
            step.place,
            rollup,
            whole=step.whole,
            received_from=step.received_from,
        )
        view = await view_of(self._client, rollup)
        await self._count_again(base, rollup, view, partition, faults.buckets)
        if faults.uncounted:
            await self._insert(
                add_statement(self._settings.namespace, base, rollup, view),
                {
                    "partition": partition,
                    "since": memory.since,
                    "remembered": memory.remembered,
                },
            )
            failpoint("after_add")
        if faults.ahead:
            await self._put_back(rollup, partition, step.place.standing.log_end)
        return _lines(step, faults)

    async def _count_again(
        self,
        base: BaseTable,
        rollup: Rollup,
        view: str,
        partition: int,
        buckets: Sequence[int],
    ) -> None:
        for some in _batches(buckets, _MOST_BUCKETS):
            listed = ", ".join(map(str, some))
            await self._guard.require_alone()
            await delete_rows(
                self._client,
                rollup.name,
                f"kafka_partition = {partition} AND toUnixTimestamp(bucket) IN ({listed})",
            )
            failpoint("after_empty")
            statement = refill_statement(self._settings.namespace, base, rollup, view)
            for batch in await self._by_rows(base, rollup, partition, some):
                await self._insert(statement, {"partition": partition, "buckets": batch})
                failpoint("after_refill")

    async def _by_rows(
        self, base: BaseTable, rollup: Rollup, partition: int, buckets: Sequence[int]
    ) -> list[list[int]]:
        """Return those of the buckets that have rows, in batches that one insert can take."""
        counts = await self._client.query(
            bucket_sizes_statement(self._settings.namespace, base, rollup),
            parameters={"partition": partition, "buckets": list(buckets)},
        )
        batches: list[list[int]] = []
        rows = _MOST_ROWS
        for bucket, count in counts.result_rows:
            if rows + count > _MOST_ROWS:
                batches.append([])
                rows = 0
            batches[-1].append(bucket)
            rows += count
        return batches

    async def _insert(self, statement: str, parameters: dict[str, object]) -> None:
        await self._guard.require_alone()
        await self._client.command(statement, parameters=parameters, settings=_INSERT)

    async def _put_back(self, rollup: Rollup, partition: int, end: int) -> None:
        """Let no bucket that was not counted again say that it counts beyond the log's end."""
        await self._client.command(
            f"ALTER TABLE {rollup.name} UPDATE last_offset = {max(end - 1, 0)} WHERE "
            f"kafka_partition = {partition} AND last_offset >= {end}",
            settings=MUTATION,
        )


def _lines(step: MendRollup, faults: RollupFaults) -> list[str]:
    name, said = step.rollup.name, []
    if faults.buckets:
        quarters = counted(len(faults.buckets), "quarter")
        said.append(f"✓ {step.place}: {name}: {quarters} of an hour counted again")
    if faults.uncounted:
        rows = counted(faults.uncounted, "row")
        said.append(f"✓ {step.place}: {name}: {rows} added to older quarters of an hour")
    if faults.ahead:
        rows = counted(faults.ahead, "row")
        said.append(f"✓ {step.place}: {name}: {rows} no longer count beyond the log's end")
    if faults.unproven:
        said.append(f"! {unproven_in(step.place, name, faults)}")
    return said


def _batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
