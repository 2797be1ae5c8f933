"""The rows of a base table: taken out, and filled from the topic through a twin.

In: a partition, ranges of offsets. Out: the table with every record's row once. Never: a row that
a view sees: what it would count is counted for a part of the rows already; a row of a user who is
forgotten, of which only what is left is written.

A twin is a table of the same structure, `<table>_repair`. Records become rows in it as the writer
makes them; then whole parts are attached to the table. Every step can be cut off: the next run
looks again at what the table has, and begins with a new twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.comparison.reading import Piece, read_pieces
from cli.comparison.rows import cover_of, rows_between
from cli.forgetting.clearing import clear_tables
from cli.forgetting.left import left_of
from cli.forgetting.marks import KnownMarks
from cli.forgetting.rows import USER_COUNTS, counts_of
from cli.mutations import INSERT, delete_rows
from cli.repair.findings import counted
from cli.repair.guard import Guard
from cli.repair.plan import ForgetTokens, InsertRows, KeepOne, RemoveRows
from cli.table_settings import retention
from contracts.tables import BASE_TABLES, DEDUPLICATED, REJECTED_EVENTS, BaseTable
from processors.writer.blocks import Block, Buffer, prefix_of
from processors.writer.commits import now_ms
from processors.writer.failures import Failure, failure_of
from processors.writer.refusals import find_refusals, refusal_lines
from processors.writer.standing import is_expired
from processors.writer.storage import Storage
from runtime.clickhouse import AsyncClient, ClickHouseError
from runtime.failpoints import failpoint
from runtime.settings import Settings

_SELECT_PARTS = """
SELECT DISTINCT partition_id FROM system.parts
WHERE database = currentDatabase() AND table = {table:String} AND active
"""
_SELECT_TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase()"


class RowMender:
    """Mends base tables, one partition of one at a time."""

    def __init__(
        self,
        settings: Settings,
        client: AsyncClient,
        storage: Storage,
        consumer: AIOKafkaConsumer,
        guard: Guard,
        *,
        known: KnownMarks,
    ) -> None:
        self._known = known
        self._settings = settings
        self._client = client
        self._storage = storage
        self._consumer = consumer
        self._guard = guard
        self._inserts = 0

    async def forget_tokens(self, step: ForgetTokens) -> str:
        """Make each table anew from its own parts, which are shared and not copied."""
        for table in step.tables:
            twin = await self._make_twin(table)
            for part in await self._parts_of(table):
                await self._attach(twin, table, part)
            failpoint("before_exchange")
            await self._guard.require_alone()
            await self._client.command(f"EXCHANGE TABLES {table} AND {twin}")
            failpoint("after_exchange")
            await self._drop(twin)
        return f"{', '.join(step.tables)} have forgotten the tokens of records that are gone"

    async def remove(self, step: RemoveRows) -> str:
        """Take the rows of the ranges out, also those put aside, and what is left of some."""
        where, base = step.place.where, step.place.base
        conditions = {
            table: _condition(step.ranges, where, each)
            for each in (base, REJECTED_EVENTS)
            for table in (each.name, each.forgotten)
        }
        removed = 0
        for table, condition in conditions.items():
            removed += await delete_rows(self._client, table, condition)
            failpoint("after_remove")
        return f"{step.place}: {counted(removed, 'wrong row')} taken out of {base.name}"

    async def keep_one(self, step: KeepOne) -> str:
        """Keep one row of each offset of ranges; Kafka no longer has them.

        The rows are put aside whole before they are taken out, and what was put aside is dropped
        only when the table has it again.
        """
        where, base = step.place.where, step.place.base
        rows = _condition(step.ranges, where, base)
        aside = aside_of(base.name)
        await self._client.command(f"CREATE TABLE {aside} AS {base.name}")
        await self._client.command(
            f"INSERT INTO {aside} SELECT * FROM {base.name} WHERE {rows} "  # noqa: S608
            "LIMIT 1 BY kafka_offset",
            settings=INSERT,
        )
        failpoint("after_put_aside")
        removed = await delete_rows(self._client, base.name, rows)
        failpoint("after_taken_out")
        kept = await self._put_back(base.name)
        return f"{step.place}: {counted(removed - kept, 'doubled row')} taken out of {base.name}"

    async def take_up(self) -> None:
        """Put back what a run that was cut off has put aside, and drop the twins it left."""
        tables = set((await self._client.query(_SELECT_TABLES)).result_columns[0])
        for base in BASE_TABLES:
            if aside_of(base.name) in tables:
                await self._put_back(base.name)
        for table in DEDUPLICATED:
            if twin_of(table) in tables:
                await self._drop(twin_of(table))

    async def forget_users(self) -> list[str]:
        """Take the rows of users out who are forgotten; return what was done, line by line."""
        lines = [
            f"{counted(gone, 'row')} of users who are forgotten taken out of {table}"
            async for table, gone in clear_tables(
                self._client, self._settings.namespace, self._known.marks
            )
        ]
        gone = await delete_rows(self._client, USER_COUNTS, counts_of(self._known.marks))
        failpoint("after_forgotten")
        return [
            *lines,
            f"{counted(gone, 'row')} of users who are forgotten taken out of {USER_COUNTS}",
        ]

    async def insert(self, step: InsertRows) -> str:
        """Insert what the table lacks, piece by piece of the log."""
        where, base = step.place.where, step.place.base
        end = step.place.standing.log_end
        twin = await self._make_twin(base.name)
        inserted = 0
        async for piece in read_pieces(self._consumer, where, step.first, end):
            inserted += await self._insert_piece(base, twin, where, piece)
        await self._drop(twin)
        return f"{step.place}: {counted(inserted, 'row')} inserted into {base.name} from the topic"

    async def _insert_piece(
        self, base: BaseTable, twin: str, where: TopicPartition, piece: Piece
    ) -> int:
        present = await rows_between(self._client, base, where, piece.first, piece.last)
        days, now = retention(self._settings)[base.name].days, now_ms()
        lacking = [
            record
            for record in piece.records
            if record.offset not in present and not is_expired(record.value or b"", days, now)
        ]
        covers = cover_of(base, self._known.marks)
        gone = [record for record in lacking if covers(record.value or b"")]
        if gone:
            lines = b"".join(left_of(base, where, record) for record in gone)
            await self._client.command(
                f"INSERT INTO {base.forgotten} FORMAT JSONEachRow", data=lines
            )
            failpoint("after_gone")
        rows = [record for record in lacking if not covers(record.value or b"")]
        if rows:
            await self._insert_rows(base, twin, where, piece, rows)
        return len(rows)

    async def _insert_rows(
        self,
        base: BaseTable,
        twin: str,
        where: TopicPartition,
        piece: Piece,
        records: Sequence[Any],
    ) -> None:
        prefix = prefix_of(where.partition, where.topic if base.names_topic else None)
        buffer = Buffer(prefix)
        buffer.add(records)
        block = buffer.take_range(piece.first, piece.last)
        await self._insert_block(base, twin, where, block, prefix)
        failpoint("after_twin")
        for part in await self._parts_of(twin):
            await self._guard.require_alone()
            await self._attach(base.name, twin, part)
            failpoint("after_attach")
        await self._client.command(f"TRUNCATE TABLE {twin}")

    async def _insert_block(
        self, base: BaseTable, twin: str, where: TopicPartition, block: Block, prefix: bytes
    ) -> None:
        """Insert into the twin; rows that ClickHouse refuses are put aside as the writer does."""
        try:
            await self._insert_lines(twin, block)
        except ClickHouseError as error:
            if failure_of(error) is not Failure.REFUSED:
                raise
        else:
            return
        refusals = await find_refusals(block, lambda rows: self._try_rows(base, rows))
        aside = refusal_lines(
            block, refusals, prefix=prefix, topic=where.topic, partition=where.partition
        )
        if refusals:
            await self._insert_lines(REJECTED_EVENTS.name, aside)
            failpoint("after_aside")
        refused = {refusal.index for refusal in refusals}
        kept = block.only([i for i in range(len(block.lines)) if i not in refused])
        if kept.lines:
            await self._insert_lines(twin, kept)

    async def _insert_lines(self, table: str, block: Block) -> None:
        self._inserts += 1
        token = f"repair:{self._guard.run}:{self._inserts}"
        await self._storage.insert(table, block.body(), token, lambda: True)

    async def _try_rows(self, base: BaseTable, block: Block) -> str | None:
        try:
            await self._storage.try_rows(base, block.body())
        except ClickHouseError as error:
            if failure_of(error) is not Failure.REFUSED:
                raise
            return str(error).partition(" (for url")[0]
        return None

    async def _put_back(self, table: str) -> int:
        """Attach what was put aside and the table lacks, and drop it; return how many rows it had.

        A run that was cut off before anything was taken out has left rows that the table has.
        """
        aside = aside_of(table)
        twin = await self._make_twin(table)
        await self._client.command(
            f"INSERT INTO {twin} SELECT * FROM {aside} "  # noqa: S608 - names of ours
            "WHERE (kafka_partition, kafka_offset) NOT IN "
            f"(SELECT kafka_partition, kafka_offset FROM {table})",
            settings=INSERT,
        )
        count: int = (await self._client.query(f"SELECT count() FROM {aside}")).first_row[0]  # noqa: S608
        for part in await self._parts_of(twin):
            await self._attach(table, twin, part)
        await self._drop(aside)
        await self._drop(twin)
        return count

    async def _make_twin(self, table: str) -> str:
        twin = twin_of(table)
        await self._drop(twin)
        await self._client.command(f"CREATE TABLE {twin} AS {table}")
        return twin

    async def _drop(self, twin: str) -> None:
        await self._client.command(f"DROP TABLE IF EXISTS {twin} SYNC")

    async def _parts_of(self, table: str) -> list[str]:
        rows = await self._client.query(_SELECT_PARTS, parameters={"table": table})
        return [row[0] for row in rows.result_rows]

    async def _attach(self, table: str, source: str, part: str) -> None:
        await self._client.command(
            f"ALTER TABLE {table} ATTACH PARTITION ID '{part}' FROM {source}"
        )


def twin_of(table: str) -> str:
    """Return the name of the table that rows are made in before they are attached to another."""
    return f"{table}_repair"


def aside_of(table: str) -> str:
    """Return the name of the table that rows are put aside in while they are taken out."""
    return f"{table}_repair_aside"


def _condition(ranges: Sequence[tuple[int, int]], where: TopicPartition, base: BaseTable) -> str:
    """Return the condition on a topic's rows in a table, as text: a mutation binds nothing."""
    listed = " OR ".join(f"kafka_offset BETWEEN {first} AND {last}" for first, last in ranges)
    of_topic = f" AND kafka_topic = '{where.topic}'" if base.names_topic else ""
    return f"kafka_partition = {where.partition} AND ({listed}){of_topic}"
