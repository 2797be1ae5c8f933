"""`writer_beside_analyst`, `writer_beside_questions` and `analyst_beside_writer`: what each costs.

A ClickHouse of its own with a user for each task. `track writer`, as the user `writer`, drains rows
as in `writer`. Beside it an analyst, as the user `analyst`, asks one heavy question after the other
over all rows, without a pause; or four people do so over HTTP, of `track query` with the user
`query`, for what is read from rows. Alone and beside in turn, so that a table that grows weighs on
all alike: rows alone (not counted), rows alone, questions alone, rows beside the analyst, rows
alone, questions alone, rows beside HTTP, rows alone. The writer's figures are its rate beside them
by the mean of its rates alone just before and after; the analyst's is the median time of a round of
questions beside the writer by the mean of the medians alone. After all of it rows and rollups are
counted.

On a machine whose cores are all in use both must give way: with 2 cores, one of which a question
may take, half of the rate would be fair.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from statistics import mean, median

from cli.migrate import run_migrations
from contracts.topics import Topics
from deploy.local.clickhouse import ANALYST, QUERY, WRITER, start_clickhouse
from deploy.local.machine import free_port
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.benchmarks.asking import Analyst, Asking
from tests.benchmarks.bench import PARTITIONS, Bench
from tests.benchmarks.figures import BenchmarkError, Figure
from tests.benchmarks.log import Records, dam, write
from tests.benchmarks.programs import track, wait_for
from tests.benchmarks.writer import COUNTED, check_counts, count_of, make_rows

_DONE_WITHIN_S = 300.0
_PEOPLE = 4
_LATER = 503
_ASKED_OVER_HTTP = (
    "/metrics/top?by=metadata.song_id&",
    "/metrics?group_by=hour&metadata.device=mobile&",
    "/metrics?count=users&timezone=Asia/Kathmandu&",
)


def measure(bench: Bench) -> list[Figure]:
    """Measure the writer and the analyst alone, and beside each other."""
    rows = bench.sizes.rows
    made = [list(make_rows(partition, rows // PARTITIONS)) for partition in range(PARTITIONS)]
    with bench.namespace() as settings:
        clickhouse = start_clickhouse(
            bench.folder / "analyst", namespace=settings.namespace, say=bench.say
        )
        try:
            own = dataclasses.replace(settings, clickhouse=clickhouse.address)
            asyncio.run(run_migrations(own))
            urls = clickhouse.urls
            asking = dataclasses.replace(own, clickhouse=urls[QUERY], port=free_port())
            with track(asking, "query"):
                analyst, people = Analyst(urls[ANALYST], own.namespace), _People(asking.port)
                return _measure(bench, own, urls[WRITER], analyst, people, made)
        finally:
            clickhouse.stop()


def _measure(
    bench: Bench,
    settings: Settings,
    writer: str,
    analyst: Analyst,
    people: _People,
    made: Sequence[Records],
) -> list[Figure]:
    client = connect_sync(settings)
    written = 0

    def drain() -> float:
        nonlocal written
        rate = asyncio.run(_drain(settings, writer, client, made, written))
        written += sum(map(len, made))
        return rate

    try:
        drain()
        alone = [drain()]
        times_alone = [analyst.ask_for(bench.sizes.analyst_s)]
        with analyst.asking() as times:
            beside_analyst = drain()
        alone.append(drain())
        times_alone.append(analyst.ask_for(bench.sizes.analyst_s))
        with people.asking() as answered:
            beside_people = drain()
        alone.append(drain())
        check_counts(client, written)
    finally:
        client.close()
    if not times or not all(answered):
        raise BenchmarkError("somebody had no answer while the writer wrote; write more rows")
    beside = median(times)
    bench.say(f"writer alone {alone}; analyst alone {times_alone}, beside {beside}")
    rounds = [taken_s for each in answered for taken_s in each]
    return [
        _of_writer("writer_beside_analyst", beside_analyst, alone[:2], "an analyst"),
        _of_writer(
            "writer_beside_questions",
            beside_people,
            alone[1:],
            f"{_PEOPLE} people who ask over HTTP, {median(rounds):.2f} s a round",
        ),
        Figure(
            "analyst_beside_writer",
            beside / mean(times_alone),
            f"{beside:.2f} s a round of questions beside the writer, {mean(times_alone):.2f} s "
            f"alone; {len(times)} rounds",
        ),
    ]


def _of_writer(name: str, rate: float, alone: Sequence[float], beside: str) -> Figure:
    words = f"{rate:,.0f} rows/s beside {beside}, {mean(alone):,.0f} alone"
    return Figure(name, rate / mean(alone), words)


class _People:
    """People who ask the query service, all at once, each one question after the other."""

    def __init__(self, port: int) -> None:
        today = datetime.now(UTC).date()
        days = f"start_date={today - timedelta(days=29)}&end_date={today}"
        self._urls = [f"http://127.0.0.1:{port}{path}{days}" for path in _ASKED_OVER_HTTP]

    @contextmanager
    def asking(self) -> Iterator[list[list[float]]]:
        """Ask while the block lasts; give the times of each one's rounds."""
        with ExitStack() as together:
            yield [together.enter_context(Asking(self._ask_round)) for _ in range(_PEOPLE)]

    def _ask_round(self) -> float:
        """Ask everything once. Who is told to come later has his answer, too."""
        began = time.monotonic()
        for url in self._urls:
            try:
                with urllib.request.urlopen(url, timeout=70) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if error.code != _LATER:
                    raise BenchmarkError(f"{url} answered {error.code}: {said}") from error
        return time.monotonic() - began


async def _drain(
    settings: Settings, writer_url: str, client: Client, rows: Sequence[Records], before: int
) -> float:
    """Return the rows a second of a writer that finds all of them in its topic."""
    topic = Topics.of(settings.namespace).accepted
    count = sum(map(len, rows))
    async with dam(settings, topic) as held:
        await write(settings, topic, rows, compression="zstd")
        with track(dataclasses.replace(settings, clickhouse=writer_url), "writer") as writer:
            await held.open()
            began = time.monotonic()
            wait_for(
                lambda: count_of(client, COUNTED[0]) >= before + count, "the writer",
                _DONE_WITHIN_S, writer,
            )  # fmt: skip
            return count / (time.monotonic() - began)
