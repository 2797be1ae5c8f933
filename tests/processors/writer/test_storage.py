"""What exactly-once rests on in ClickHouse: one block for each partition of the table, once."""

from __future__ import annotations

import asyncio

import pytest

from contracts.tables import EVENTS
from processors.writer.connections import NotSentError
from processors.writer.storage import Storage
from tests.processors.writer.pipeline import NOW_MS, Pipeline

_ROWS = 120_000
_LEVEL_0 = """
SELECT sum(rows), count() FROM system.parts
WHERE database = currentDatabase() AND table = 'events' AND level = 0
"""
_RECEIVED = (NOW_MS, NOW_MS - 86_400_000, NOW_MS - 2 * 86_400_000)


def _lines(rows: int) -> bytes:
    line = (
        b'{"kafka_partition":1,"kafka_offset":%d,"event_id":"%d","user_id":"u%d","event":"play",'
        b'"timestamp":%d,"received_at":%d,"metadata":{"text":"%b"},"source":"","log_offset":1}\n'
    )
    filling = b"x" * 400
    return b"".join(
        line % (n, n, n % 1000, NOW_MS - n, _RECEIVED[n % 3], filling) for n in range(rows)
    )


def test_an_insert_is_one_block_and_its_repetition_none(pipeline: Pipeline) -> None:
    pipeline.clickhouse.command("SYSTEM STOP MERGES events")
    body = _lines(_ROWS)
    # Larger than every size by which ClickHouse would split or merge blocks of an insert.
    assert len(body) > 60_000_000

    async def insert_twice() -> None:
        storage = Storage(pipeline.settings)
        for _ in range(2):
            await storage.insert(EVENTS.name, body, "a token", lambda: True)
        storage.close()

    asyncio.run(insert_twice())
    assert pipeline.rows(_LEVEL_0) == [(_ROWS, len(_RECEIVED))]
    for table in ("event_counts_15m", "user_counts_15m"):
        assert pipeline.scalar(f"SELECT sum(events) FROM {table}") == _ROWS
    first = "SELECT timestamp, received_at FROM events WHERE kafka_offset = 0"
    assert pipeline.rows(
        f"SELECT arrayMap(toUnixTimestamp64Milli, [t.1, t.2]) FROM "
        f"(SELECT tuple(timestamp, received_at) AS t FROM ({first}))"
    ) == [([NOW_MS, NOW_MS],)]


def test_a_late_insert_is_not_sent(pipeline: Pipeline) -> None:
    async def insert() -> None:
        storage = Storage(pipeline.settings)
        with pytest.raises(NotSentError):
            await storage.insert(EVENTS.name, _lines(1), "a token", lambda: False)
        await storage.insert(EVENTS.name, _lines(1), "a token", lambda: True)
        storage.close()

    asyncio.run(insert())
    assert pipeline.scalar("SELECT count() FROM events") == 1


def test_a_rollup_is_filled_once(pipeline: Pipeline) -> None:
    async def fill() -> None:
        storage = Storage(pipeline.settings)
        await storage.insert(EVENTS.name, _lines(3000), "a token", lambda: True)
        for rollup in EVENTS.rollups:
            await asyncio.to_thread(pipeline.clickhouse.command, f"TRUNCATE TABLE {rollup.name}")
            for _ in range(2):
                await storage.fill(
                    EVENTS,
                    rollup,
                    partition=1,
                    first=1000,
                    last=1999,
                    token="filling",
                    may_send=lambda: True,
                )
        storage.close()

    asyncio.run(fill())
    for table in ("event_counts_15m", "user_counts_15m"):
        assert pipeline.rows(f"SELECT sum(events), max(last_offset) FROM {table}") == [(1000, 1999)]
