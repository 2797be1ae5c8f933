"""`track verify`: topics, tables and rollups held against each other; what differs is said.

In: settings. Out: a line for each topic and rollup, a sentence for each difference; whether there
was none. Never: a change; a difference that only the moment makes.

Rows are compared by their offsets, from the first record that Kafka still has to the last that was
committed. Rollups are counted again from the rows: what began within the days that rows are kept
must agree wholly, and everything must where the log still has its beginning; what began before may
count rows that are gone, but never fewer than there are. Where nothing differs, the writer begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click
from aiokafka import AIOKafkaConsumer

from cli.comparison.compared import Compared
from cli.comparison.places import Place, read_announced, read_places
from cli.comparison.rollups import compare_rollup, memory_of, recount_of
from cli.comparison.rows import Rows, compare_rows, doubled_before, offsets_from
from cli.comparison.runs import Runs
from cli.forgetting.kept import find_kept
from cli.forgetting.marks import KnownMarks, read_marks
from cli.parquet.comparison import compare_export
from cli.parquet.folder import open_to_read
from cli.server_failures import told_what_then
from cli.table_settings import retention
from contracts.forgetting import Marks
from contracts.tables import TABLE_OF_TOPIC, BaseTable
from contracts.topics import Topics
from processors.writer.storage import Storage
from runtime.clickhouse import AsyncClient, connect
from runtime.kafka.consumers import open_consumer
from runtime.settings import Settings
from runtime.startup import require_log

_MOMENT_S = 0.5


def verify(settings: Settings, export: Path | None = None) -> bool:
    """Compare everything and print what was found; return whether all agrees.

    `export` is a folder of exported events, to be held against the tables too.

    Raises:
        StartupError: Kafka or ClickHouse does not answer, or they belong to different logs; the
            folder cannot be read.
    """
    return asyncio.run(print_verdict(settings, export))


async def print_verdict(settings: Settings, export: Path | None = None) -> bool:
    """Do what `verify` does, within an event loop."""
    log = await require_log(settings)
    if export:
        with open_to_read(export):  # one that cannot be read is told before all is compared
            pass
    agrees = True
    with told_what_then("run it again."):
        async for compared in compare(settings):
            click.echo(str(compared))
            agrees = agrees and not compared.differences
        # Nothing else is at work in this loop.
        for compared in compare_export(settings, export, log.id) if export else ():
            click.echo(str(compared))
            agrees = agrees and not compared.differences
    return agrees


async def compare(settings: Settings) -> AsyncIterator[Compared]:
    """Give what was compared: each topic with its table, then the table with its rollups.

    Where users are forgotten, last of all the tables with their marks.
    """
    log = await require_log(settings)
    known = KnownMarks(settings, await read_marks(settings, log.id))
    client, storage = await connect(settings), Storage(settings)
    topics = Topics.of(settings.namespace)
    try:
        async with open_consumer(settings.kafka_servers) as consumer:
            for name, base in TABLE_OF_TOPIC.items():
                comparison = _Comparison(settings, consumer, client, storage, base, known=known)
                yield await comparison.of_topic(getattr(topics, name))
                async for compared in comparison.of_rollups():
                    yield compared
        if known.marks:
            yield await _compare_with_marks(settings, client, known.marks)
    finally:
        storage.close()
        await client.close()


async def _compare_with_marks(settings: Settings, client: AsyncClient, marks: Marks) -> Compared:
    """Look for rows of users who are forgotten, also of those that Kafka no longer has."""
    kept = await find_kept(client, settings.namespace, marks)
    compared = Compared(f"users who are forgotten: {len(marks.by_key):,}")
    compared.differences += kept.sentences
    return compared


class _Comparison:
    """One topic, its table and the table's rollups."""

    def __init__(
        self,
        settings: Settings,
        consumer: AIOKafkaConsumer,
        client: AsyncClient,
        storage: Storage,
        base: BaseTable,
        *,
        known: KnownMarks,
    ) -> None:
        self._known = known
        self._settings = settings
        self._consumer = consumer
        self._client = client
        self._storage = storage
        self._base = base
        # Of which partitions the table has dropped no row.
        self._whole: set[int] = set()

    async def of_topic(self, topic: str) -> Compared:
        """Compare the topic's partitions with the rows of the table."""
        compared, count = Compared(""), 0
        places = await self._places(topic)
        faults = await self._lasting_faults(topic, places)
        for place in places:
            if place.mark is not None:
                compared.differences.append(f"{place}: a `track repair` has not ended")
            rows = await self._rows(place)
            count += rows.records
            differences = [*self._differences(place, rows)]
            if place.where.partition in faults and not differences:
                differences.append(faults[place.where.partition])
            compared.differences += differences
            if not place.standing.log_start and not rows.expired:
                self._whole.add(place.where.partition)
        compared.what = f"{topic} and {self._base.name}: {count:,} records"
        return compared

    async def of_rollups(self) -> AsyncIterator[Compared]:
        """Count each rollup again from the rows."""
        for rollup in self._base.rollups:
            compared = Compared(f"{self._base.name} and {rollup.name}")
            recount = await recount_of(self._client, self._settings, self._base, rollup)
            for number in range(self._settings.partitions):
                whole = number in self._whole
                memory = memory_of(self._settings, self._base, rollup, whole=whole)
                compared.differences += await compare_rollup(
                    self._client, recount, rollup, number, memory
                )
            yield compared

    async def _places(self, topic: str) -> list[Place]:
        return await read_places(self._consumer, self._storage, self._settings, topic, self._base)

    async def _lasting_faults(self, topic: str, places: Sequence[Place]) -> dict[int, str]:
        """Return why the writer would not begin, by partition: what holds a moment later too."""
        if not any(place.fault for place in places):
            return {}
        await asyncio.sleep(_MOMENT_S)
        both = zip(places, await self._places(topic), strict=True)
        return {
            again.where.partition: fault
            for place, again in both
            if place.fault and (fault := again.fault)
        }

    async def _rows(self, place: Place) -> Rows:
        """Compare a partition's records with its rows, and add the rows that were not announced.

        What the writer inserted since the place was read was announced before, so the announcement
        is asked for again, after the table.
        """
        first, end = place.standing.log_start, place.compared_to
        days = retention(self._settings)[self._base.name].days
        rows = await compare_rows(
            self._consumer,
            self._client,
            self._base,
            place.where,
            first=first,
            end=end,
            days=days,
            known=self._known,
        )
        older = await doubled_before(self._client, self._base, place.where, first)
        rows.doubled.put_before(older)
        # How far the table is was asked before: what it has got since is the writer's.
        height, beyond = place.standing.base, max(end, place.announced + 1)
        if place.standing.committed is not None and height is not None and height >= beyond:
            ahead = await offsets_from(self._client, self._base, place.where, beyond)
            announced = await read_announced(self._settings, place.where)
            for offset in ahead:
                rows.foreign.note(offset, is_one=offset > announced)
        return rows

    def _differences(self, place: Place, rows: Rows) -> list[str]:
        kinds: tuple[tuple[str, Runs], ...] = (
            ("lacks", rows.lacking),
            ("has twice", rows.doubled),
            ("has without a record that was committed", rows.foreign),
            ("has, though their users are forgotten,", rows.forgotten),
        )
        return [
            f"partition {place.where.partition}: {self._base.name} {what} {offsets}"
            for what, offsets in kinds
            if offsets
        ]
