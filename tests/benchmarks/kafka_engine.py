"""`writer_vs_kafka_engine`: our writer beside ClickHouse's own way to read Kafka.

The same rows in the same topic, held back by the same dam (see `writer`), into the same tables with
the same views behind: once by a `track writer`, once by a table of the engine Kafka with two
consumers and a view that moves its rows to `events`, partition and offset included. In turn, each
in a namespace of its own, on one server that may reach Kafka; a first run of both is not counted.
The rate of both is the rows by the seconds from the opening of the dam until `count()` has them
all, and rows and rollups are counted afterwards. The engine gets what makes it fast here: a thread
for each consumer, blocks of the writer's size, and half a second until it writes what is left (its
own seven and a half would be more than all its work). It is at-least-once, ours exactly-once.

Where the target comes from: whoever has ClickHouse has this engine, and needs no writer for speed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median

from contracts.tables import EVENTS
from contracts.topics import Topics
from processors.writer.pacing import BLOCK_ROWS
from processors.writer.storage import LINES
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.benchmarks.bench import PARTITIONS, Bench
from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.log import Records, dam, wait_until_joined, write
from tests.benchmarks.programs import cpu_s, wait_for
from tests.benchmarks.reaching_clickhouse import reaching_clickhouse
from tests.benchmarks.writer import (
    COUNT_ROWS,
    DONE_WITHIN_S,
    Drained,
    check_counts,
    count_of,
    drain,
    make_rows,
)

_CONSUMERS = 2
_FORMAT_SETTINGS = ("type_json_", "input_format_")

_CREATE_QUEUE = """
CREATE TABLE kafka_rows
(
    event_id String,
    user_id String,
    event LowCardinality(String),
    timestamp DateTime64(3, 'UTC'),
    received_at DateTime64(3, 'UTC'),
    metadata String,
    source LowCardinality(String),
    log_offset UInt64
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = '{servers}',
    kafka_topic_list = '{topic}',
    kafka_group_name = '{group}',
    kafka_format = 'JSONEachRow',
    kafka_num_consumers = {consumers},
    kafka_thread_per_consumer = 1,
    kafka_max_block_size = {rows},
    kafka_poll_max_batch_size = {rows},
    kafka_flush_interval_ms = 500,
    {formats}
"""
_CREATE_MOVER = """
CREATE MATERIALIZED VIEW kafka_rows_view TO {table} AS
SELECT
    * REPLACE (CAST(metadata, 'JSON(max_dynamic_paths = 32)') AS metadata),
    _partition AS kafka_partition,
    _offset AS kafka_offset
FROM kafka_rows
"""


def measure(bench: Bench) -> list[Figure]:
    """Measure the writer and the engine, in turn."""
    rows = bench.sizes.rows
    made = [list(make_rows(partition, rows // PARTITIONS)) for partition in range(PARTITIONS)]
    ours: list[Drained] = []
    engine: list[Drained] = []
    with reaching_clickhouse(bench.folder / "reaching", bench.say) as (address, server):
        for number in range(bench.sizes.runs + 1):
            with bench.namespace(clickhouse=address) as settings:
                mine = asyncio.run(drain(settings, made, server.pid))
            with bench.namespace(clickhouse=address) as settings:
                other = asyncio.run(_drain_by_engine(settings, made, server.pid))
            run = f"run {number}" if number else "not counted"
            bench.say(
                f"writer, {run}: {mine.rows_per_s:,.0f} rows/s, "
                f"Kafka engine {other.rows_per_s:,.0f}"
            )
            if number:
                ours.append(mine)
                engine.append(other)
    return _figures(ours, engine, rows)


def _figures(ours: Sequence[Drained], engine: Sequence[Drained], rows: int) -> list[Figure]:
    ratios = [mine.rows_per_s / other.rows_per_s for mine, other in zip(ours, engine, strict=True)]
    rates = [each.rows_per_s for each in engine]
    writer, server = (1e6 * median(each.cpu_s[i] for each in ours) / rows for i in (0, 1))
    alone = 1e6 * median(each.cpu_s[0] for each in engine) / rows
    return [
        Figure(
            "writer_vs_kafka_engine",
            median(ratios),
            f"{rows:,} rows, all views; CPU s a million: writer {writer:.1f} and ClickHouse "
            f"{server:.1f}, to {alone:.1f} of ClickHouse alone; {spread(ratios, 2)}",
        ),
        Figure(
            "kafka_engine_rows_per_s",
            median(rates),
            f"engine Kafka, {_CONSUMERS} consumers, at least once; {spread(rates)}",
        ),
    ]


async def _drain_by_engine(settings: Settings, rows: Sequence[Records], server_pid: int) -> Drained:
    """Let ClickHouse read the rows itself; return its rate and its CPU seconds."""
    topic, group = Topics.of(settings.namespace).accepted, f"{settings.namespace}.kafka_engine"
    count = sum(map(len, rows))
    client = connect_sync(settings)
    try:
        async with dam(settings, topic) as held:
            await write(settings, topic, rows, compression="zstd")
            _create(client, settings, topic, group)
            await wait_until_joined(settings, group, _CONSUMERS)
            begun_cpu_s = cpu_s(server_pid)
            await held.open()
            began = time.monotonic()
            wait_for(lambda: count_of(client, COUNT_ROWS) >= count, "the engine", DONE_WITHIN_S)
            taken_s, used_s = time.monotonic() - began, cpu_s(server_pid) - begun_cpu_s
        for table in ("kafka_rows_view", "kafka_rows"):
            client.command(f"DROP TABLE {table} SYNC")
        check_counts(client, count)
    finally:
        client.close()
    return Drained(count / taken_s, [used_s])


def _create(client: Client, settings: Settings, topic: str, group: str) -> None:
    formats = {name: value for name, value in LINES.items() if name.startswith(_FORMAT_SETTINGS)}
    client.command(
        _CREATE_QUEUE.format(
            servers=settings.kafka,
            topic=topic,
            group=group,
            consumers=_CONSUMERS,
            rows=BLOCK_ROWS,
            formats=", ".join(f"{name} = {value}" for name, value in formats.items()),
        )
    )
    client.command(_CREATE_MOVER.format(table=EVENTS.name))
