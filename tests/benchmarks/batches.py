"""`http_batch_events_per_s`: a hundred events a request, acknowledged by Kafka as a whole.

Two `track ingest` processes on one port, acks=all and idempotence, 64 connections; another user in
each event, bodies made before the clock starts. Every answer must be 2xx, and the topic must hold a
hundred records for each. No other service runs; load generator and broker share the machine.

Where the target comes from: a prototype without validation, keys and limits made 336,000 events/s
where no user repeats; PostHog's capture in Rust makes 116,000 to 132,000.
"""

from __future__ import annotations

import asyncio
from statistics import median

from contracts.topics import Topics
from runtime.settings import Settings
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure, spread
from tests.benchmarks.load_tool import Load, put_load, tool_name
from tests.benchmarks.log import end_offsets
from tests.benchmarks.single_events import ingest

EVENTS = 100
CONNECTIONS = 64
_RAMP_S = 2


def measure(bench: Bench) -> list[Figure]:
    """Measure some rounds, each with processes of its own."""
    loads: list[Load] = []
    with bench.namespace() as settings:
        for number in range(1, bench.sizes.http_rounds + 1):
            with ingest(settings) as serving:
                loads.append(_load(bench, serving))
            bench.say(f"batches, round {number}: {EVENTS * loads[-1].per_s:,.0f} events/s")
    rates = [EVENTS * load.per_s for load in loads]
    p99 = median(load.p99_ms for load in loads)
    return [
        Figure(
            "http_batch_events_per_s",
            median(rates),
            f"{tool_name()}, batches of {EVENTS}, {CONNECTIONS} connections, p99 of a batch "
            f"{p99:.0f} ms; {spread(rates)}",
        )
    ]


def _load(bench: Bench, settings: Settings) -> Load:
    url = f"http://127.0.0.1:{settings.port}/track/batch"
    topic = Topics.of(settings.namespace).events
    put_load(url, CONNECTIONS, _RAMP_S, EVENTS)
    before = sum(asyncio.run(end_offsets(settings, topic)).values())
    load = put_load(url, CONNECTIONS, bench.sizes.http_s, EVENTS)
    written = sum(asyncio.run(end_offsets(settings, topic)).values()) - before
    if written < EVENTS * load.requests:
        raise BenchmarkError(f"{load.requests} answers, but {written} records in {topic}")
    return load
