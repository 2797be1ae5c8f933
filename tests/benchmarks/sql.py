"""`sql_slowest_s`: the slowest of the twenty-five questions of docs/sql.md, 100 million events.

A hundred million events and twenty million sessions, of a million users who come one after the
other over a year, in the order of time; a hundred thousand rejected records. The year ends with the
weeks that the questions are about. A ClickHouse of its own, asked as the user `analyst` with the
limits that it has by default (two threads, 1 GB), after merges had five minutes to settle. Each
question is asked four times over HTTP; the first does not count, of the others the median does.
Before that, counts are compared with what was loaded.

It needs the disk and the time of `volume`.

Where the target comes from: who waits for more than a second begins to do something else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import shutil
import time
from collections.abc import Mapping
from statistics import median

from cli.migrate import run_migrations
from cli.sql.answers import Format, write_answer
from deploy.local.clickhouse import ANALYST, start_clickhouse
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure
from tests.benchmarks.volume import BYTES_AN_EVENT
from tests.sql.documented import PAGE, Asked, questions

_CHUNK = 1_000_000
_TIMES = 3
_REJECTED = 100_000
_DAYS = 365
# The day behind the last one of the five weeks, and the year before it.
_ENDS_S = 1_743_897_600  # 2025-04-06, UTC

# A user is one of those who have come by the time of the event; a few songs are heard by everybody.
_MADE = """
    fromUnixTimestamp64Milli(
        toInt64({begin_ms:Int64} + intDiv(number * {span_ms:UInt64}, {total:UInt64})), 'UTC'
    ) AS at,
    toUInt64(
        {users:UInt64} * (number + 1) / {total:UInt64} * (cityHash64(number) / 18446744073709551616)
    ) AS user,
    concat(
        '{"song_id":"song_', toString(intDiv(1000000, 200 + cityHash64(number, 2) % 1000000)),
        '","artist":"artist ', toString(cityHash64(number, 3) % 50),
        '","device":"', ['mobile', 'desktop', 'tablet', 'speaker', 'tv'][1 + number % 5], '"}'
    ) AS json
"""
_INSERT_EVENTS = f"""
INSERT INTO events (event_id, user_id, event, timestamp, received_at, metadata, source, log_offset,
    kafka_partition, kafka_offset)
WITH {_MADE}
SELECT hex(sipHash128(number)), concat('listener-user-', leftPad(toString(user), 5, '0')),
    ['play', 'stop', 'play', 'stop', 'play', 'stop', 'pause', 'seek', 'search', 'like']
        [1 + cityHash64(number, 1) % 10],
    at, now64(3, 'UTC'), json, '', number, user % {{partitions:UInt64}}, number
FROM numbers({{first:UInt64}}, {{count:UInt64}})
"""
_INSERT_SESSIONS = f"""
INSERT INTO sessions (session_id, user_id, started_at, ended_at, duration_ms, attributes, play_id,
    stop_id, received_at, log_offset, kafka_partition, kafka_offset)
WITH {_MADE}, 20000 + cityHash64(number, 4) % 310000 AS took_ms
SELECT hex(sipHash128(number)), concat('listener-user-', leftPad(toString(user), 5, '0')), at,
    at + toIntervalMillisecond(took_ms), took_ms, json, hex(sipHash128(number, 1)),
    hex(sipHash128(number, 2)), now64(3, 'UTC'), number, user % {{partitions:UInt64}}, number
FROM numbers({{first:UInt64}}, {{count:UInt64}})
"""
_INSERT_REJECTED = """
INSERT INTO rejected_events (reason, message, source, received_at, value, log_offset, kafka_offset)
SELECT ['invalid_json', 'invalid_timestamp'][1 + number % 2], 'The body is not valid JSON',
    concat('source-', toString(number % 20)),
    now64(3, 'UTC') - toIntervalMillisecond(number * 20000), '{"event":', number, number
FROM numbers({count:UInt64})
"""
_COUNT = """
SELECT (SELECT sum(events) FROM daily_active_users), (SELECT sum(sessions) FROM daily_sessions)
"""
_COUNT_UNSETTLED = """
SELECT (SELECT count() FROM system.merges WHERE database = currentDatabase())
    + (SELECT count() FROM system.mutations WHERE database = currentDatabase() AND NOT is_done)
"""


def measure(bench: Bench) -> list[Figure]:
    """Load, settle, ask."""
    if shutil.disk_usage(bench.folder).free < BYTES_AN_EVENT * bench.sizes.volume_events:
        raise BenchmarkError(f"{bench.folder} is too small; name a larger place by TMPDIR")
    with bench.namespace() as settings:
        clickhouse = start_clickhouse(
            bench.folder / "sql", namespace=settings.namespace, say=bench.say
        )
        try:
            own = dataclasses.replace(settings, clickhouse=clickhouse.address)
            asyncio.run(run_migrations(own))
            _fill(bench, own)
            analyst = dataclasses.replace(own, clickhouse=clickhouse.urls[ANALYST])
            return _figures(_ask_all(bench, analyst), bench.sizes.volume_events)
        finally:
            clickhouse.stop()


def _fill(bench: Bench, settings: Settings) -> None:
    sizes = bench.sizes
    client = connect_sync(settings, timeout_s=600)
    try:
        for statement, total in (
            (_INSERT_EVENTS, sizes.volume_events),
            (_INSERT_SESSIONS, sizes.volume_sessions),
        ):
            for first in range(0, total, _CHUNK):
                client.command(
                    statement,
                    parameters={
                        "users": sizes.volume_users,
                        "partitions": settings.partitions,
                        "begin_ms": (_ENDS_S - _DAYS * 86_400) * 1000,
                        "span_ms": _DAYS * 86_400_000,
                        "total": total,
                        "first": first,
                        "count": min(_CHUNK, total - first),
                    },
                )
            bench.say(f"sql: {total:,} rows loaded")
        client.command(_INSERT_REJECTED, parameters={"count": _REJECTED})
        _settle(client, sizes.volume_settled_within_s)
        counted = tuple(map(int, client.query(_COUNT).first_row))
        if counted != (sizes.volume_events, sizes.volume_sessions):
            raise BenchmarkError(f"the views count {counted} events and sessions")
    finally:
        client.close()


def _settle(client: Client, seconds: float) -> None:
    """Wait until nothing is merged, but no longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and client.query(_COUNT_UNSETTLED).first_row[0]:
        time.sleep(0.5)


def _ask_all(bench: Bench, settings: Settings) -> Mapping[Asked, float]:
    client = connect_sync(settings)
    try:
        taken = {}
        for asked in questions(PAGE.read_text()):
            taken[asked] = _seconds(client, asked.statement)
            bench.say(f"sql: {asked.number}. {asked.title} {taken[asked]:.3f} s")
        return taken
    finally:
        client.close()


def _seconds(client: Client, statement: str) -> float:
    """Return the median time of an answer, the first one left out."""
    taken = []
    for _ in range(_TIMES + 1):
        answer = io.BytesIO()
        began = time.perf_counter()
        write_answer(client, statement, Format.TABLE, answer)
        taken.append(time.perf_counter() - began)
        if not answer.getvalue():
            raise BenchmarkError(f"there is no row in the answer to {statement}")
    return median(taken[1:])


def _figures(taken: Mapping[Asked, float], events: int) -> list[Figure]:
    slowest = max(taken, key=taken.__getitem__)
    ordered = sorted(taken.values())
    how = f"{events:,} events; {slowest.number}. {slowest.title}"
    return [
        Figure("sql_slowest_s", taken[slowest], how),
        Figure("sql_median_s", ordered[len(ordered) // 2], "the median of the twenty-five"),
        *(
            Figure(f"sql_question_{asked.number:02}_s", seconds, asked.title)
            for asked, seconds in taken.items()
        ),
    ]
