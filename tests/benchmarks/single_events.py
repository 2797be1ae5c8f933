"""`http_single_vs_plain`, with `http_single_rps` and `http_plain_rps`: one event a request.

256 connections, acks=all and idempotence on both sides. Ours is two `track ingest` processes on
one port, as the stack runs them; plain is `plain_ingest`, one uvicorn process. In turn, each
started anew, a second of load, then six seconds that count; the ratio is the median of the
rounds'. Every answer must be 2xx, and the topic must hold at least as many records as there were
answers. No other service runs; load generator and broker share the machine.

Where the target comes from: on such a machine the plain service made 9,100 to 9,900 a second,
PostHog's capture in Rust 14,100, and bare Rust over rdkafka, the practical limit, 38,200.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from contracts.topics import Topics
from deploy.local.machine import free_port
from runtime.settings import Settings
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure, spread
from tests.benchmarks.load_tool import Load, put_load, tool_name
from tests.benchmarks.log import end_offsets
from tests.benchmarks.programs import answers, run, track, wait_for

_PROCESSES = 2
_READY_IN_A_ROW = 20
_RAMP_S = 1


def measure(bench: Bench) -> list[Figure]:
    """Measure both services in turn."""
    plain: list[Load] = []
    ours: list[Load] = []
    with bench.namespace() as settings:
        for number in range(1, bench.sizes.http_rounds + 1):
            plain.append(_measure_plain(bench, settings))
            ours.append(_measure_ours(bench, settings))
            bench.say(
                f"single events, round {number}: plain {plain[-1].per_s:,.0f}, "
                f"ours {ours[-1].per_s:,.0f} requests/s"
            )
    return _figures(plain, ours, bench.sizes.http_connections)


def _figures(plain: list[Load], ours: list[Load], connections: int) -> list[Figure]:
    plain_rates, our_rates = ([load.per_s for load in loads] for loads in (plain, ours))
    ratios = [mine / other for mine, other in zip(our_rates, plain_rates, strict=True)]
    p99 = median(load.p99_ms for load in ours)
    return [
        Figure(
            "http_single_vs_plain",
            median(ratios),
            f"{tool_name()}, {connections} connections; {spread(ratios, 2)}",
        ),
        Figure(
            "http_single_rps",
            median(our_rates),
            f"two `track ingest` processes, p99 {p99:.0f} ms; {spread(our_rates)}",
        ),
        Figure(
            "http_plain_rps",
            median(plain_rates),
            f"Starlette + send_and_wait, one process; {spread(plain_rates)}",
        ),
    ]


def _measure_plain(bench: Bench, settings: Settings) -> Load:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.plain_ingest:app"]
    command += ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    topic = Topics.of(settings.namespace).events
    with run(
        settings.home,
        "plain",
        command,
        lambda: answers(port, "/track", 405),
        KAFKA=settings.kafka,
        TOPIC=topic,
    ):
        return _load(bench, settings, port)


def _measure_ours(bench: Bench, settings: Settings) -> Load:
    with ingest(settings) as serving:
        return _load(bench, serving, serving.port)


@contextmanager
def ingest(settings: Settings) -> Iterator[Settings]:
    """Run two processes of ingest on one port; the block gets settings that name it."""
    settings = dataclasses.replace(settings, port=free_port())
    with track(settings, "ingest"), track(settings, "ingest"):
        wait_for(
            lambda: all(answers(settings.port, "/readyz") for _ in range(_READY_IN_A_ROW)),
            f"the start of {_PROCESSES} ingest processes",
            30,
        )
        yield settings


def _load(bench: Bench, settings: Settings, port: int) -> Load:
    url, connections = f"http://127.0.0.1:{port}/track", bench.sizes.http_connections
    topic = Topics.of(settings.namespace).events
    put_load(url, connections, _RAMP_S)
    before = sum(asyncio.run(end_offsets(settings, topic)).values())
    load = put_load(url, connections, bench.sizes.http_s)
    written = sum(asyncio.run(end_offsets(settings, topic)).values()) - before
    if written < load.requests:
        raise BenchmarkError(f"{load.requests} answers, but {written} records in {topic}")
    return load
