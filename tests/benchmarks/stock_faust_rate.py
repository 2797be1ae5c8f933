"""`faust_events_per_s`: stock Faust over the same events as the sessionizer, fewer of them.

One worker, started over a log that is already written. The rate is the events by the seconds from
the first to the last CreateTime in its table's changelog, which has a record for each play: so the
first and the last are but a few events from both ends of the log. All sessions must be there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.processes import Running
from runtime.settings import Settings
from tests.benchmarks.bench import PARTITIONS, Bench
from tests.benchmarks.figures import BenchmarkError, Figure
from tests.benchmarks.log import Records, end_offsets, seconds_between, write
from tests.benchmarks.made_events import make_events
from tests.benchmarks.programs import beside_python, run
from tests.processors.sessionizer.running import read_topic

_DONE_WITHIN_S = 180.0
_REST_S = 2.0
_LEADERS_S = 1.0  # until new topics have them


def measure_faust(bench: Bench) -> Figure:
    """Measure one worker once."""
    count = bench.sizes.faust_events
    events = make_events(count, bench.sizes.users, PARTITIONS)
    with bench.namespace() as settings:
        rate = asyncio.run(_rate(settings, events, count))
    bench.say(f"stock Faust: {rate:,.0f} events/s")
    how = f"{count:,} events, one worker, a table and a topic of sessions, defaults, at least once"
    return Figure("faust_events_per_s", rate, how)


async def _rate(settings: Settings, events: Sequence[Records], count: int) -> float:
    name = f"{settings.namespace}.faust_{secrets.token_hex(2)}"
    source, sessions = f"{name}.events", f"{name}.sessions"
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(topic, settings.partitions, 1) for topic in (source, sessions)]
        )
        await asyncio.sleep(_LEADERS_S)
        await write(settings, source, events)
        command = [beside_python("faust"), "-A", "tests.benchmarks.stock_faust"]
        command += ["worker", "--without-web", "--loglevel", "warn"]
        with run(
            settings.home, "faust", command,
            KAFKA=settings.kafka, EVENTS=source, SESSIONS=sessions,
            DATADIR=str(settings.home / name),
        ) as worker:  # fmt: skip
            await _wait_for_sessions(settings, sessions, _expected(events), worker)
            changelog = f"{sessions}-open_plays-changelog"
            await _wait_for_rest(settings, changelog)
        taken_s = seconds_between(await read_topic(settings, changelog))
        left = [topic for topic in await admin.list_topics() if topic.startswith(name)]
        await admin.delete_topics(left)
    finally:
        await admin.close()
    return count / taken_s


async def _wait_for_sessions(settings: Settings, topic: str, count: int, worker: Running) -> None:
    async with asyncio.timeout(_DONE_WITHIN_S):
        while sum((await end_offsets(settings, topic)).values()) < count:
            if worker.exit_code is not None:
                raise BenchmarkError(f"Faust ended; its log is {worker.program.log}")
            await asyncio.sleep(0.5)


async def _wait_for_rest(settings: Settings, topic: str) -> None:
    """Wait until nothing has come for a while."""
    async with asyncio.timeout(_DONE_WITHIN_S):
        before: dict[int, int] = {}
        ends = await end_offsets(settings, topic)
        while ends != before:
            await asyncio.sleep(_REST_S)
            before, ends = ends, await end_offsets(settings, topic)


def _expected(events: Sequence[Records]) -> int:
    """Return how many stops find an open play."""
    sessions = 0
    plays: Counter[bytes] = Counter()
    for user, body in (record for records in events for record in records):
        if b'"event":"play"' in body:
            plays[user] += 1
        elif b'"event":"stop"' in body and plays[user]:
            plays[user] -= 1
            sessions += 1
    return sessions
