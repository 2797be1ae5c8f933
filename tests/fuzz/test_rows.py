"""Rows of mutated records in the real tables: each is taken, counted, and comes back as it was."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from msgspec import Raw

from cli.migrate import run_migrations
from contracts.rows import encode_row
from contracts.tables import EVENTS, REJECTED_EVENTS, SESSIONS, BaseTable
from processors.writer.blocks import Buffer, prefix_of
from processors.writer.refusals import find_refusals
from processors.writer.storage import Storage
from runtime.clickhouse import AsyncClient, ClickHouseError, connect
from runtime.settings import Settings
from tests.fuzz.budget import BUDGET
from tests.fuzz.mutations import Mutator
from tests.fuzz.records import TOPIC, Record, Sink, partition_of, read_record
from tests.fuzz.reference import read_json
from tests.fuzz.tables import is_kept
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.anyio
LEAST, AT_ONCE = 2000, 2000
PART_OF_TIME = 0.12
_EVENT = ("event_id", "user_id", "event", "source", "log_offset")
_TIMES = ("timestamp", "received_at")
_SESSION = ("session_id", "user_id", "play_id", "stop_id", "duration_ms", "log_offset")
_REJECTION = (
    "reason", "message", "source", "log_topic", "log_partition", "log_offset", "key",
    "key_encoding", "value", "value_encoding", "value_bytes", "value_sha256", "headers", "whole",
)  # fmt: skip


def made_rows(mutator: Mutator, count: int, received_at: int) -> Sink:
    """Return the rows that a partition makes of mutated records."""
    partition, sink = partition_of(1), Sink()
    for offset in range(count):
        sample = mutator.next()
        record = read_record(sample, offset, received_at) or Record(offset, received_at, sample)
        partition.step(record, sink)
    return sink


async def insert(storage: Storage, base: BaseTable, rows: Sequence[Any], run: int) -> None:
    """Insert the rows as the writer does; a row that is refused fails with its bytes."""
    if not rows:
        return
    buffer = Buffer(prefix_of(run, TOPIC if base.names_topic else None))
    buffer.add([Record(at, 0, encode_row(row)) for at, row in enumerate(rows)])
    block = buffer.take_range(0, len(rows))

    async def try_rows(part: Any) -> str | None:
        try:
            await storage.try_rows(base, part.body())
        except ClickHouseError as error:
            return str(error)
        return None

    refusals = await find_refusals(block, try_rows)
    assert not refusals, [(each.message, block.lines[each.index]) for each in refusals[:3]]
    await storage.insert(base.name, block.body(), f"{base.name}:{run}", lambda: True)


async def back(client: AsyncClient, table: str, columns: Iterable[str], run: int) -> list[Any]:
    """Return the columns of a table's rows as they are, times in milliseconds."""
    chosen = ", ".join(columns)
    answer = await client.raw_query(
        f"SELECT {chosen} FROM {table} WHERE kafka_partition = {run} ORDER BY kafka_offset",
        fmt="JSONCompactEachRow",
        settings={"output_format_json_quote_64bit_integers": 0},
    )
    return [read_json(line) for line in answer.splitlines()]


def wanted(row: Any, names: Iterable[str]) -> list[Any]:
    """Return a row's fields as they must come back."""
    fields: dict[str, Any] = json.loads(encode_row(row), parse_int=str)
    return [fields[name] for name in names]


@pytest.mark.timeout(900)
async def test_each_row_is_taken_counted_and_comes_back(settings: Settings) -> None:
    await run_migrations(settings)
    corpus = [
        sample
        for target in TARGETS
        if target.name in {"body", "record"}
        for sample in target.corpus().values()
    ]
    mutator = Mutator(random.Random(BUDGET.seed), corpus)
    ends_at = time.monotonic() + BUDGET.seconds * PART_OF_TIME
    client, storage = await connect(settings, timeout_s=30), Storage(settings)
    run = accepted = 0
    try:
        while run * AT_ONCE < LEAST or time.monotonic() < ends_at:
            sink = await asyncio.to_thread(made_rows, mutator, AT_ONCE, time.time_ns() // 10**6)
            for base, rows in (
                (EVENTS, sink.accepted), (SESSIONS, sink.sessions), (REJECTED_EVENTS, sink.rejected)
            ):  # fmt: skip
                await insert(storage, base, rows, run)
            await check_back(client, sink, run)
            accepted += len(sink.accepted)
            run += 1
        counted = (await client.query("SELECT sum(events) FROM event_counts")).result_rows
        assert counted == [(accepted,)]
    finally:
        storage.close()
        await client.close()


async def check_back(client: AsyncClient, sink: Sink, run: int) -> None:
    """Require that each row of this run is in its table, field by field."""
    select = (*_EVENT, *(f"toUnixTimestamp64Milli({name})" for name in _TIMES), "metadata")
    found = await back(client, "events", select, run)
    assert [row[:-1] for row in found] == [wanted(row, (*_EVENT, *_TIMES)) for row in sink.accepted]
    for row, (*_, metadata) in zip(sink.accepted, found, strict=True):
        sent = read_json(bytes(row.metadata))
        assert is_kept(sent, metadata) or is_unclear(row.metadata), (bytes(row.metadata), metadata)
    found = await back(client, "sessions", _SESSION, run)
    assert found == [wanted(row, _SESSION) for row in sink.sessions]
    found = await back(client, "rejected_events", _REJECTION, run)
    assert found == [wanted(row, _REJECTION) for row in sink.rejected]


def is_unclear(metadata: Raw) -> bool:
    """Tell whether a path stands twice: two keys of one name, or one that has a dot.

    ClickHouse keeps one of the values then, and a reader of JSON may keep the other.
    """
    is_twice = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_twice
        names = [name for name, _ in pairs]
        is_twice = is_twice or len(set(names)) < len(names) or any("." in name for name in names)
        return dict(pairs)

    json.loads(bytes(metadata), object_pairs_hook=look)
    return is_twice
