"""How fast one writer brings rows from the topic into the tables; beside it the bytes from files.

    python -m tests.processors.writer.benchmark [rows] [rounds]

In: servers from the environment (TRACK_KAFKA, TRACK_CLICKHOUSE), and CLICKHOUSE_PID where its CPU
seconds are wanted too. Out: a line for each round, in rows a second and CPU seconds for a million
rows. Each round has a namespace of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer
from msgspec import Raw

from contracts.rows import AcceptedRow, encode_row
from contracts.tables import EVENTS
from contracts.topics import Topics
from processors.writer.blocks import prefix_of
from processors.writer.connections import Gate, open_pool
from processors.writer.pacing import BLOCK_ROWS
from processors.writer.storage import LINES
from runtime.clickhouse import connect_sync
from runtime.settings import Settings
from tests.processors.writer.pipeline import RUN_WRITER, Pipeline

_TRANSACTION_ROWS = 10_000
_PARTITIONS = 4
_USERS, _SONGS = 20_000, 500


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows a second, and the CPU seconds a million rows took, here and in ClickHouse."""

    rows_per_s: float
    cpu_s: float
    clickhouse_cpu_s: float


def measure(settings: Settings, folder: Path, rows: int) -> tuple[Rate, Rate]:
    """Return the rate of a writer that drains a topic, and of the same bytes from files."""
    fresh = dataclasses.replace(settings, namespace=f"bench_{secrets.token_hex(4)}")
    pipeline = Pipeline(fresh, folder)
    beside = Pipeline(dataclasses.replace(fresh, namespace=f"{fresh.namespace}_file"), folder)
    try:
        made = [list(_rows_of(partition, rows)) for partition in range(_PARTITIONS)]
        asyncio.run(_send(fresh, made))
        paths = _write_files(folder, made)
        del made
        return _drain(pipeline, rows, folder), _insert_files(beside, rows, paths)
    finally:
        pipeline.close()
        beside.close()


def _rows_of(partition: int, rows: int) -> Iterator[bytes]:
    chance = random.Random(partition)
    now_ms = time.time_ns() // 1_000_000
    for number in range(rows // _PARTITIONS):
        metadata = b'{"song_id":"song-%d","device":"phone","position":%d,"playlist":"morning"}' % (
            chance.randrange(_SONGS),
            chance.randrange(300),
        )
        yield encode_row(
            AcceptedRow(
                event_id=f"{chance.getrandbits(128):032x}",
                user_id=f"user-{chance.randrange(partition, _USERS, _PARTITIONS)}",
                event=chance.choice(("play", "stop", "pause", "seek")),
                timestamp=now_ms - chance.randrange(900_000),
                received_at=now_ms,
                metadata=Raw(metadata),
                source="web",
                log_offset=number,
            )
        )


async def _send(settings: Settings, made: Sequence[Sequence[bytes]]) -> None:
    topic = Topics.of(settings.namespace).accepted
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_servers,
        transactional_id=settings.namespace,
        compression_type="zstd",
        max_batch_size=900_000,
    )
    await producer.start()
    try:
        for begin in range(0, len(made[0]), _TRANSACTION_ROWS):
            await producer.begin_transaction()
            for partition, values in enumerate(made):
                builder, sent = producer.create_batch(), []
                for value in values[begin : begin + _TRANSACTION_ROWS]:
                    if builder.append(key=None, value=value, timestamp=None) is None:
                        sent.append(await producer.send_batch(builder, topic, partition=partition))
                        builder = producer.create_batch()
                        builder.append(key=None, value=value, timestamp=None)
                sent.append(await producer.send_batch(builder, topic, partition=partition))
                await asyncio.gather(*sent)
            await producer.commit_transaction()
    finally:
        await producer.stop()


def _write_files(folder: Path, made: Sequence[Sequence[bytes]]) -> list[Path]:
    paths = []
    for partition, values in enumerate(made):
        prefix = prefix_of(partition, None)
        for begin in range(0, len(values), BLOCK_ROWS):
            lines = [
                b"%b%d,%b\n" % (prefix, begin + number, value[1:])
                for number, value in enumerate(values[begin : begin + BLOCK_ROWS])
            ]
            paths.append(folder / f"{partition}-{begin}.jsonl")
            paths[-1].write_bytes(b"".join(lines))
    return paths


def _drain(pipeline: Pipeline, rows: int, folder: Path) -> Rate:
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_WRITER],
        env=pipeline.environment(TRACK_READY_FILE=str(ready), TRACK_SESSION_TIMEOUT_MS="10000"),
    )
    try:
        while not ready.exists():
            time.sleep(0.005)
        began, cpu_s, clickhouse_s = time.monotonic(), _cpu_s(process.pid), _clickhouse_cpu_s()
        while pipeline.scalar("SELECT count() FROM events") < rows:
            time.sleep(0.05)
        return _rate(rows, time.monotonic() - began, _cpu_s(process.pid) - cpu_s, clickhouse_s)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _insert_files(pipeline: Pipeline, rows: int, paths: Sequence[Path]) -> Rate:
    client = connect_sync(pipeline.settings, pool=open_pool(Gate()))
    statement = f"INSERT INTO {EVENTS.name} FORMAT JSONEachRow"
    began, cpu_s, clickhouse_s = time.monotonic(), time.process_time(), _clickhouse_cpu_s()
    for path in paths:
        settings = {**LINES, "insert_deduplication_token": path.name}
        client.command(statement, data=path.read_bytes(), settings=settings)
    taken_s = time.monotonic() - began
    client.close()
    return _rate(rows, taken_s, time.process_time() - cpu_s, clickhouse_s)


def _rate(rows: int, taken_s: float, cpu_s: float, clickhouse_before_s: float) -> Rate:
    millions = rows / 1_000_000
    clickhouse_s = _clickhouse_cpu_s() - clickhouse_before_s
    return Rate(rows / taken_s, cpu_s / millions, clickhouse_s / millions)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _clickhouse_cpu_s() -> float:
    pid = os.environ.get("CLICKHOUSE_PID")
    return _cpu_s(int(pid)) if pid else 0.0


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    settings = dataclasses.replace(
        Settings.from_environment(os.environ), partitions=_PARTITIONS, namespace="bench"
    )
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            writer, file = measure(settings, Path(folder), rows)
        for name, rate in (("writer", writer), ("file", file)):
            print(
                f"{name:7} {rate.rows_per_s:9,.0f} rows/s, CPU s a million: "
                f"{rate.cpu_s:.2f} here, {rate.clickhouse_cpu_s:.2f} in ClickHouse",
                flush=True,
            )
        print(f"writer / file: {writer.rows_per_s / file.rows_per_s:.2f}", flush=True)


if __name__ == "__main__":
    main()
