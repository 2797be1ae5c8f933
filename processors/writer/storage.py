"""What the writer asks of ClickHouse: insert a block, fill a rollup, say how far a table has got.

In: lines, tokens, names of tables. Out: rows inserted once, offsets. Never: an insert sent twice by
itself, an insert split into several blocks, a decision about an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from contracts.tables import (
    REJECTED_EVENTS,
    SELECT_VIEW,
    BaseTable,
    Rollup,
    fill_statement,
)
from processors.writer.connections import Gate, open_pool
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings

# More would only share ClickHouse's cores, and hold more blocks in memory.
INSERTS_AT_ONCE = 4
MAX_EXECUTION_S = 60
_ANSWER_S = MAX_EXECUTION_S + 30
_NEVER_SPLIT = 1 << 40

ONE_BLOCK: Mapping[str, str | int] = {
    "max_execution_time": MAX_EXECUTION_S,
    "max_insert_block_size": _NEVER_SPLIT,
    "max_insert_block_size_bytes": 0,
    "min_insert_block_size_rows": _NEVER_SPLIT,
    "min_insert_block_size_bytes": _NEVER_SPLIT,
    "min_insert_block_size_rows_for_materialized_views": 0,
    "min_insert_block_size_bytes_for_materialized_views": 0,
    "max_insert_threads": 1,
    "max_threads": 1,
    "max_partitions_per_insert_block": 0,
    # The status of the answer must be the insert's own, not one sent ahead of it.
    "wait_end_of_query": 1,
    "send_progress_in_http_headers": 0,
}
LINES: Mapping[str, str | int] = {
    **ONE_BLOCK,
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "type_json_skip_duplicated_paths": 1,
    # A text in metadata that looks like a date stays the text that was sent.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    # In a list with numbers or texts a truth value stays one.
    "input_format_json_read_bools_as_numbers": 0,
    "input_format_json_read_bools_as_strings": 0,
    # Several partitions insert at once; parsing one block in several threads took 8 % more CPU.
    "input_format_parallel_parsing": 0,
    # A column that the table lacks must not get lost in silence.
    "input_format_skip_unknown_fields": 0,
}

_SELECT_LOG = "SELECT id FROM log"
_SELECT_HEIGHTS = """
SELECT kafka_partition, max({column:Identifier}) FROM {table:Identifier}
WHERE kafka_partition IN {partitions:Array(UInt16)} GROUP BY kafka_partition
"""
_SELECT_HEIGHTS_OF_TOPIC = """
SELECT kafka_partition, max(kafka_offset) FROM {table:Identifier}
WHERE kafka_partition IN {partitions:Array(UInt16)} AND kafka_topic = {topic:String}
GROUP BY kafka_partition
"""
_SELECT_RANGE = """
SELECT count(), maxOrNull(kafka_offset) FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16}
  AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
"""

Answer = TypeVar("Answer")


class Storage:
    """ClickHouse as the writer sees it; a few connections, each used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(INSERTS_AT_ONCE + 1, "clickhouse")
        self._free = [_Line(settings) for _ in range(INSERTS_AT_ONCE)]
        self._turns = asyncio.Semaphore(INSERTS_AT_ONCE)
        self._questions = _Line(settings)
        self._question_turn = asyncio.Lock()

    async def insert(
        self, table: str, body: bytes, token: str, may_send: Callable[[], bool]
    ) -> None:
        """Insert JSON lines as one block under a token, in one send.

        Args:
            table: the base table.
            body: the lines.
            token: what ClickHouse knows the block by.
            may_send: asked in another thread, right before the send, over an open connection.

        Raises:
            NotSentError: `may_send` said no.
            SentOnceError: the connection broke and a resend was held back.
            ClickHouseError: it was refused, or the outcome is unknown.
        """
        settings = {**LINES, "insert_deduplication_token": token}
        statement = f"INSERT INTO {table} FORMAT JSONEachRow"
        await self._with_line(lambda line: line.send(statement, body, settings, may_send))

    async def try_rows(self, base: BaseTable, body: bytes) -> None:
        """Insert JSON lines into the table's twin, which keeps nothing.

        Raises:
            ClickHouseError: a row would be refused, or ClickHouse is away.
        """
        statement = f"INSERT INTO {base.twin} FORMAT JSONEachRow"
        await self._with_line(lambda line: line.send(statement, body, LINES, lambda: True))

    async def fill(
        self,
        base: BaseTable,
        rollup: Rollup,
        *,
        partition: int,
        first: int,
        last: int,
        token: str,
        may_send: Callable[[], bool],
    ) -> None:
        """Add to a rollup what a range of offsets of the base table adds up to.

        Raises:
            NotSentError, SentOnceError, ClickHouseError: as in `insert`.
        """
        view = await self.ask(SELECT_VIEW, {"view": rollup.view})
        statement = fill_statement(self._settings.namespace, base, rollup, view[0][0])
        settings = {**ONE_BLOCK, "insert_deduplication_token": token}
        where = {"partition": partition, "first": first, "last": last}
        await self._with_line(lambda line: line.run(statement, where, settings, may_send))

    async def log_ids(self) -> list[str]:
        """Return the ids in the table `log`: one, where all is well."""
        return [row[0] for row in await self.ask(_SELECT_LOG, {})]

    async def heights(
        self, base: BaseTable, topic: str, partitions: Sequence[int]
    ) -> dict[int, int]:
        """Return the highest offset of a topic's partitions in its base table."""
        if base.names_topic:
            return await self.refused_heights(topic, partitions)
        return await self._heights(base.name, "kafka_offset", partitions)

    async def rollup_heights(self, rollup: Rollup, partitions: Sequence[int]) -> dict[int, int]:
        """Return the highest offset that a rollup counts, by partition."""
        return await self._heights(rollup.name, "last_offset", partitions)

    async def refused_heights(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Return the highest offset of a topic's rows in `rejected_events`, by partition."""
        return await self._heights_of_topic(REJECTED_EVENTS.name, topic, partitions)

    async def forgotten_heights(
        self, base: BaseTable, topic: str, partitions: Sequence[int]
    ) -> dict[int, int]:
        """Return the highest offset of a topic's rows that went with their users, by partition."""
        found = await self._heights_of_topic(REJECTED_EVENTS.forgotten, topic, partitions)
        if not base.names_topic:
            rows = await self._heights(base.forgotten, "kafka_offset", partitions)
            for partition, height in rows.items():
                found[partition] = max(height, found.get(partition, height))
        return found

    async def rows_between(
        self, base: BaseTable, topic: str, partition: int, first: int, last: int
    ) -> tuple[int, int | None]:
        """Return how many rows of a range a base table holds, and the highest offset of them."""
        where = {"table": base.name, "partition": partition, "first": first, "last": last}
        select = _SELECT_RANGE
        if base.names_topic:
            select += " AND kafka_topic = {topic:String}"
            where["topic"] = topic
        count, highest = (await self.ask(select, where))[0]
        return count, highest

    async def ask(self, select: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Return the rows that a SELECT gives.

        Raises:
            ClickHouseError: it failed.
        """
        async with self._question_turn:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._questions.ask, select, parameters
            )

    def close(self) -> None:
        """Take no more work; what a thread is doing goes on to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _heights(self, table: str, column: str, partitions: Sequence[int]) -> dict[int, int]:
        parameters = {"table": table, "column": column, "partitions": list(partitions)}
        return _pairs(await self.ask(_SELECT_HEIGHTS, parameters))

    async def _heights_of_topic(
        self, table: str, topic: str, partitions: Sequence[int]
    ) -> dict[int, int]:
        parameters = {"table": table, "partitions": list(partitions), "topic": topic}
        return _pairs(await self.ask(_SELECT_HEIGHTS_OF_TOPIC, parameters))

    async def _with_line(self, work: Callable[[_Line], Answer]) -> Answer:
        """Run work in a thread; a cancelled caller leaves the thread and its connection to it."""
        await self._turns.acquire()
        line = self._free.pop()
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, line)
        running.add_done_callback(lambda done: self._give_back(line, done))
        return await asyncio.shield(running)

    def _give_back(self, line: _Line, done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()
        self._free.append(line)
        self._turns.release()


class _Line:
    """A client with one connection of its own, behind a gate."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gate = Gate()
        self._client: Client | None = None

    def send(
        self,
        statement: str,
        body: bytes,
        settings: Mapping[str, str | int],
        may_send: Callable[[], bool],
    ) -> None:
        client = self._connect()
        with self._gate.attempt(may_send):
            client.command(statement, data=body, settings=dict(settings))

    def run(
        self,
        statement: str,
        parameters: Mapping[str, Any],
        settings: Mapping[str, str | int],
        may_send: Callable[[], bool],
    ) -> None:
        client = self._connect()
        with self._gate.attempt(may_send):
            client.command(statement, parameters=dict(parameters), settings=dict(settings))

    def ask(self, select: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        rows = self._connect().query(select, parameters=dict(parameters)).result_rows
        return [tuple(row) for row in rows]

    def _connect(self) -> Client:
        if self._client is None:
            self._client = connect_sync(
                self._settings, timeout_s=_ANSWER_S, pool=open_pool(self._gate, _ANSWER_S)
            )
        return self._client


def _pairs(rows: Sequence[Sequence[Any]]) -> dict[int, int]:
    return {row[0]: row[1] for row in rows}
