"""`writer_rows_per_s` and `writer_vs_file`: one `track writer` drains rows into the real tables.

The rows lie in `<namespace>.accepted` as the sessionizer writes them (zstd, keyed by user), held
back by a dam, when the writer joins; then the dam is opened. The rate is the rows by the seconds
until `count()` of the table has them all. Then rows and both rollups are counted; a difference
makes no figure. Beside it the same lines are inserted from files, in blocks of 100,000 with the
writer's own settings and tokens, one after the other over one connection, into the same tables of
another namespace. A first run of both is not counted: a server's first million rows are slower,
as its first seconds are.

Where the target comes from: ClickHouse's sink for Kafka Connect makes about 100,000 rows/s on such
a machine (not exactly once), Bento 180,000, both into a plain table without views.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from msgspec import Raw

from contracts.rows import AcceptedRow, encode_row
from contracts.tables import EVENTS
from contracts.topics import Topics
from processors.writer.blocks import prefix_of
from processors.writer.pacing import BLOCK_ROWS
from processors.writer.storage import LINES
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.benchmarks.bench import PARTITIONS, Bench
from tests.benchmarks.figures import BenchmarkError, Figure, spread
from tests.benchmarks.log import Records, dam, write
from tests.benchmarks.programs import cpu_s, track, wait_for

_USERS, _SONGS = 20_000, 1_000
_KINDS = ("play", "stop", "pause", "product_view")
DONE_WITHIN_S = 180.0
COUNT_ROWS = "SELECT count() FROM events"
COUNTED = (
    COUNT_ROWS,
    "SELECT sum(events) FROM event_counts_15m",
    "SELECT sum(events) FROM user_counts_15m",
)


@dataclass(frozen=True, slots=True)
class Drained:
    """What a run has shown: the rate, and the CPU seconds of each process that was watched."""

    rows_per_s: float
    cpu_s: Sequence[float]


def measure(bench: Bench) -> list[Figure]:
    """Measure the writer and the insert from files, in turn."""
    rows = bench.sizes.rows
    made = [list(make_rows(partition, rows // PARTITIONS)) for partition in range(PARTITIONS)]
    paths = _write_files(bench.folder, made)
    ours: list[float] = []
    files: list[float] = []
    cpu: list[float] = []
    for number in range(bench.sizes.runs + 1):
        with bench.namespace() as settings:
            drained = asyncio.run(drain(settings, made))
        with bench.namespace() as settings:
            from_files = _insert_files(settings, paths, rows)
        run = f"run {number}" if number else "not counted"
        bench.say(f"writer, {run}: {drained.rows_per_s:,.0f} rows/s, from files {from_files:,.0f}")
        if number:
            ours.append(drained.rows_per_s)
            files.append(from_files)
            cpu.append(1e6 * drained.cpu_s[0] / rows)
    ratios = [mine / other for mine, other in zip(ours, files, strict=True)]
    return [
        Figure(
            "writer_rows_per_s",
            median(ours),
            f"{rows:,} rows, one writer, all views, {median(cpu):.1f} CPU s a million in it; "
            f"{spread(ours)}",
        ),
        Figure(
            "writer_vs_file", median(ratios), f"to the same blocks from files; {spread(ratios, 2)}"
        ),
        Figure("file_rows_per_s", median(files), f"one connection, all views; {spread(files)}"),
    ]


def make_rows(partition: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Give rows as the sessionizer writes them, of users that belong to the partition."""
    chance = random.Random(partition)
    now_ms = time.time_ns() // 1_000_000
    for number in range(count):
        user = f"user-{chance.randrange(partition, _USERS, PARTITIONS)}"
        metadata = b'{"song_id":"song-%d","device":"mobile","platform":"ios"}'
        row = AcceptedRow(
            event_id=f"{chance.getrandbits(128):032x}",
            user_id=user,
            event=chance.choice(_KINDS),
            timestamp=now_ms - chance.randrange(900_000),
            received_at=now_ms,
            metadata=Raw(metadata % chance.randrange(_SONGS)),
            source="",
            log_offset=number,
        )
        yield user.encode(), encode_row(row)


async def drain(settings: Settings, rows: Sequence[Records], *others: int) -> Drained:
    """Let a writer drain the rows; `others` are processes whose CPU seconds count as well."""
    topic = Topics.of(settings.namespace).accepted
    count = sum(map(len, rows))
    client = connect_sync(settings)
    try:
        async with dam(settings, topic) as held:
            await write(settings, topic, rows, compression="zstd")
            with track(settings, "writer") as writer:
                pids = (writer.pid, *others)
                begun_s = [cpu_s(pid) for pid in pids]
                await held.open()
                began = time.monotonic()
                wait_for(
                    lambda: count_of(client, COUNT_ROWS) >= count, "the writer", DONE_WITHIN_S,
                    writer,
                )  # fmt: skip
                taken_s = time.monotonic() - began
                used_s = [cpu_s(pid) - begun for pid, begun in zip(pids, begun_s, strict=True)]
        check_counts(client, count)
    finally:
        client.close()
    return Drained(count / taken_s, used_s)


def check_counts(client: Client, count: int) -> None:
    """Hold rows and rollups against what was written.

    Raises:
        BenchmarkError: they differ.
    """
    for question in COUNTED:
        found = count_of(client, question)
        if found != count:
            raise BenchmarkError(f"{question} gives {found:,}, and must give {count:,}")


def count_of(client: Client, question: str) -> int:
    """Return the one number that a question gives."""
    return int(client.query(question).first_row[0])


def _write_files(folder: Path, made: Sequence[Records]) -> list[Path]:
    """Write the lines that the writer would insert, a file for each block."""
    paths = []
    for partition, rows in enumerate(made):
        prefix = prefix_of(partition, None)
        for begin in range(0, len(rows), BLOCK_ROWS):
            lines = [
                b"%b%d,%b\n" % (prefix, begin + number, value[1:])
                for number, (_, value) in enumerate(rows[begin : begin + BLOCK_ROWS])
            ]
            path = folder / f"rows-{partition}-{begin}.jsonl"
            path.write_bytes(b"".join(lines))
            paths.append(path)
    return paths


def _insert_files(settings: Settings, paths: Sequence[Path], rows: int) -> float:
    client = connect_sync(settings)
    try:
        statement = f"INSERT INTO {EVENTS.name} FORMAT JSONEachRow"
        began = time.monotonic()
        for path in paths:
            token = {**LINES, "insert_deduplication_token": path.name}
            client.command(statement, data=path.read_bytes(), settings=token)
        taken_s = time.monotonic() - began
        check_counts(client, rows)
    finally:
        client.close()
    return rows / taken_s
