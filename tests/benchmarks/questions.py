"""`query_p99_ms`, `query_p50_ms`: a year by month out of ten million events.

The rows are made inside ClickHouse by `INSERT … SELECT` into the base tables, so that the views
fill the rollups: five names of events, 100,000 users, four partitions, spread evenly over the last
year in the order of time, two million sessions. Merges are given a minute to settle. Then a real
`track query` process is asked over one kept-alive connection, one request after the other:
/metrics and /sessions of all users, and of one user, another one each time. The figure is the
worse of the two for all users. The answers must add up to what was loaded.

Where the target comes from: an answer within 50 ms feels immediate.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from cli.http_connection import HTTPConnection
from deploy.local.machine import free_port
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure, percentile
from tests.benchmarks.programs import track
from tests.benchmarks.sizes import Sizes

# A block may hold rows of a whole year, received on all its days.
_ANY_DAYS = {"max_partitions_per_insert_block": 0}
_CHUNK = 1_000_000
_DAYS = 365
_WARM_UP = 20

_INSERT_EVENTS = """
INSERT INTO events (event_id, user_id, event, timestamp, received_at, metadata, source, log_offset,
    kafka_partition, kafka_offset)
SELECT
    hex(sipHash128(number)),
    concat('user-', toString(cityHash64(number) % {users:UInt64})),
    ['play', 'stop', 'pause', 'product_view', 'complete'][1 + cityHash64(number, 1) % 5],
    fromUnixTimestamp64Milli(
        toInt64({begin_ms:Int64} + intDiv(number * {span_ms:UInt64}, {total:UInt64})), 'UTC'
    ) AS at,
    at,
    concat('{"song_id":"song-', toString(cityHash64(number, 2) % 1000), '"}'),
    '',
    number,
    cityHash64(number) % {users:UInt64} % {partitions:UInt64},
    number
FROM numbers({first:UInt64}, {count:UInt64})
"""
_INSERT_SESSIONS = """
INSERT INTO sessions (session_id, user_id, started_at, ended_at, duration_ms, attributes, play_id,
    stop_id, received_at, log_offset, kafka_partition, kafka_offset)
SELECT
    hex(sipHash128(number)),
    concat('user-', toString(cityHash64(number) % {users:UInt64})),
    fromUnixTimestamp64Milli(
        toInt64({begin_ms:Int64} + intDiv(number * {span_ms:UInt64}, {total:UInt64})), 'UTC'
    ) AS begun,
    begun + INTERVAL 180 SECOND,
    180000,
    concat('{"song_id":"song-', toString(cityHash64(number, 2) % 1000), '"}'),
    hex(sipHash128(number, 1)),
    hex(sipHash128(number, 2)),
    begun + INTERVAL 180 SECOND,
    number,
    cityHash64(number) % {users:UInt64} % {partitions:UInt64},
    number
FROM numbers({first:UInt64}, {count:UInt64})
"""
# How the names of questions end that read rows.
ROWS = "_rows"
Paths = dict[str, Callable[[int], str]]
_COUNT_MERGES = "SELECT count() FROM system.merges WHERE database = currentDatabase()"


@dataclass(frozen=True, slots=True)
class Volume:
    """How much is loaded, and how long its merges may take."""

    events: int
    sessions: int
    users: int
    settled_within_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds: of a service's first answer to a question, and of those after the warm-up."""

    first: float
    later: list[float]

    def part(self, share: float) -> float:
        """Return what that share of the later ones did not exceed."""
        return percentile(self.later, share)

    def __str__(self) -> str:
        """Say what a figure leaves out."""
        return (
            f"p50 {self.part(0.5):.1f} ms, longest {max(self.later):.1f} ms, the service's first "
            f"{self.first:.1f} ms"
        )


Taken = dict[str, Times]


@dataclass(frozen=True, slots=True)
class Year:
    """The days that the loaded rows lie in, both inclusive, and what is asked about them."""

    first: date
    last: date
    grouping: str

    @property
    def query(self) -> str:
        """The parameters of a question about all of them."""
        return f"start_date={self.first}&end_date={self.last}&group_by={self.grouping}"


def measure(bench: Bench) -> list[Figure]:
    """Load, settle, ask."""
    sizes = bench.sizes
    volume = Volume(sizes.query_events, sizes.query_sessions, sizes.query_users)
    with loaded(bench, volume, "month") as service:
        return _figures(service.time_answers(), sizes)


@dataclass(frozen=True, slots=True)
class Service:
    """A query service over a loaded year."""

    port: int
    pid: int
    year: Year
    volume: Volume
    requests: int

    def time_answers(self, *, all_kinds: bool = False) -> Taken:
        """Return how long answers took, by kind of question.

        `all_kinds` asks every other question too, see `_other_paths`.

        Raises:
            BenchmarkError: an answer is not 200, or they do not add up to what was loaded.
        """
        paths = _paths(self.year, self.volume.users)
        if all_kinds:
            paths |= _other_paths(self.year, self.volume.users)
        return asyncio.run(_ask_all(self.port, self.year, self.volume, paths, self.requests))


@contextmanager
def loaded(bench: Bench, volume: Volume, grouping: str) -> Iterator[Service]:
    """Load a year, and serve it while the block lasts.

    `grouping` is that of the periods that /metrics and /sessions are asked for.
    """
    last = datetime.now(UTC).date() - timedelta(days=1)
    year = Year(last - timedelta(days=_DAYS - 1), last, grouping)
    with bench.namespace() as settings:
        _fill(bench, settings, year, volume)
        serving = dataclasses.replace(settings, port=free_port())
        with track(serving, "query") as running:
            yield Service(serving.port, running.pid, year, volume, bench.sizes.query_requests)


def _figures(taken: Taken, sizes: Sizes) -> list[Figure]:
    all_users = [taken["metrics"], taken["sessions"]]
    how = f"{sizes.query_events:,} events, a year by month, {sizes.query_requests} requests each"
    figures = [
        Figure("query_p99_ms", max(each.part(0.99) for each in all_users), f"{how}; the worse"),
        Figure("query_p50_ms", max(each.part(0.5) for each in all_users), "the worse of both"),
    ]
    for name, each in taken.items():
        figures.append(Figure(f"query_{name}_p99_ms", each.part(0.99), str(each)))
    return figures


def _fill(bench: Bench, settings: Settings, year: Year, volume: Volume) -> None:
    with _client(settings) as client:
        for statement, total in (
            (_INSERT_EVENTS, volume.events),
            (_INSERT_SESSIONS, volume.sessions),
        ):
            for first in range(0, total, _CHUNK):
                parameters = {
                    "users": volume.users,
                    "partitions": settings.partitions,
                    "begin_ms": _midnight_ms(year.first),
                    "span_ms": _DAYS * 86_400_000,
                    "total": total,
                    "first": first,
                    "count": min(_CHUNK, total - first),
                }
                client.command(statement, parameters=parameters, settings=_ANY_DAYS)
            bench.say(f"query: {total:,} rows loaded")
        _wait_for_merges(client, volume.settled_within_s)


def _wait_for_merges(client: Client, seconds: float) -> None:
    """Wait until nothing is merged, but no longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and client.query(_COUNT_MERGES).first_row[0]:
        time.sleep(0.5)


@contextmanager
def _client(settings: Settings) -> Iterator[Client]:
    client = connect_sync(settings, timeout_s=300)
    try:
        yield client
    finally:
        client.close()


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


async def _ask_all(port: int, year: Year, volume: Volume, paths: Paths, requests: int) -> Taken:
    async with HTTPConnection(f"http://127.0.0.1:{port}") as connection:
        await _check_sums(connection, year, volume)
        return {name: await _ask(connection, path, requests) for name, path in paths.items()}


def _other_paths(year: Year, users: int) -> Paths:
    """Return the other questions, as people ask them; a name that ends in `rows` reads rows.

    What a year is asked for by day is asked in a zone of half an hour too; what comes from rows for
    the last day, or the last month.
    """
    last = f"start_date={year.last}&end_date={year.last}"
    days = f"start_date={year.first}&end_date={year.last}"
    month = f"start_date={year.last - timedelta(days=29)}&end_date={year.last}"

    def user(number: int) -> str:
        return f"user_id=user-{number * 317 % users}"

    return {
        "local_metrics": lambda _: f"/metrics?{year.query}&timezone=Asia/Kolkata",
        "local_sessions": lambda _: f"/sessions?{year.query}&timezone=Asia/Kolkata",
        "hours": lambda _: f"/metrics?{month}&group_by=hour&timezone=Asia/Kolkata",
        "one_event": lambda _: f"/metrics?{year.query}&event=play&fill=zero&format=csv",
        "users": lambda _: f"/metrics?{year.query}&count=users",
        "local_users": lambda _: f"/metrics?{month}&count=users&timezone=Asia/Kolkata",
        "hours_of_users": lambda _: f"/metrics?{month}&count=users&group_by=hour",
        "top_events": lambda _: f"/metrics/top?{days}",
        "extended_day": lambda _: f"/sessions?{last}&stats=extended",
        "extended_month": lambda _: f"/sessions?{month}&stats=extended&group_by=month",
        "extended_year": lambda _: f"/sessions?{year.query}&stats=extended",
        "extended_user": lambda number: f"/sessions?{year.query}&stats=extended&{user(number)}",
        "list": lambda _: f"/sessions/list?{days}",
        "list_user": lambda number: f"/sessions/list?{days}&{user(number)}",
        "open": lambda _: "/sessions/open?within_hours=1",
        "concurrent_day": lambda _: f"/sessions/concurrent?{last}&group_by=minute",
        "concurrent_week": lambda _: (
            f"/sessions/concurrent?start_date={year.last - timedelta(days=6)}&end_date={year.last}"
        ),
        "events_user": lambda number: f"/events?{user(number)}",
        "metadata_rows": lambda n: f"/metrics?{month}&metadata.song_id=song-{n % 1000}",
        "top_songs_rows": lambda _: f"/metrics/top?{month}&by=metadata.song_id",
        "attributes_rows": lambda n: f"/sessions?{month}&attributes.song_id=song-{n % 1000}",
        "top_attributes_rows": lambda _: f"/metrics/top?{month}&by=attributes.song_id",
    }


def _paths(year: Year, users: int) -> Paths:
    def of_user(number: int) -> str:
        return f"{year.query}&user_id=user-{number * 317 % users}"

    return {
        "metrics": lambda _: f"/metrics?{year.query}",
        "sessions": lambda _: f"/sessions?{year.query}",
        "user_metrics": lambda number: f"/metrics?{of_user(number)}",
        "user_sessions": lambda number: f"/sessions?{of_user(number)}",
    }


async def _ask(connection: HTTPConnection, path: Callable[[int], str], requests: int) -> Times:
    taken = []
    for number in range(requests + _WARM_UP):
        began = time.perf_counter()
        answer = await connection.request("GET", path(number))
        taken.append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            raise BenchmarkError(f"{path(number)} answered {answer.status}: {answer.body!r}")
    return Times(taken[0], taken[_WARM_UP:])


async def _check_sums(connection: HTTPConnection, year: Year, volume: Volume) -> None:
    metrics = await connection.request("GET", f"/metrics?{year.query}")
    sessions = await connection.request("GET", f"/sessions?{year.query}")
    events = sum(
        count
        for period in json.loads(metrics.body)["data"]
        for name, count in period.items()
        if name != "date"
    )
    found = sum(period["sessionCount"] for period in json.loads(sessions.body)["data"])
    if (events, found) != (volume.events, volume.sessions):
        raise BenchmarkError(f"the answers add up to {events:,} events and {found:,} sessions")
