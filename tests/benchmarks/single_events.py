"""`http_single_vs_plain`, `http_single_256_rps`, `http_single_64_rps`: one event a request.

256 connections (ours over 64 as well), acks=all and idempotence on both sides. Ours is two
`track ingest` processes on one port, as the stack runs them; plain is `plain_ingest`, one uvicorn
process. In turn, each started anew, a second of load, then six seconds that count; the ratio is the
median of the rounds'. Every answer must be 2xx, and the topic must hold at least as many records as
there were answers. No other service runs; load generator and broker share the machine.

Where the targets come from: on such a machine the plain service made 9,100 to 9,900 a second,
PostHog's capture in Rust 14,100, and bare Rust over rdkafka, the practical limit, 38,200. Ours is
to make 28,000 where plain makes 10,000, and more or less on a faster or slower machine.
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
from tests.benchmarks.figures import BenchmarkError, Figure, Target, spread
from tests.benchmarks.load_tool import Load, put_load, tool_name
from tests.benchmarks.log import end_offsets
from tests.benchmarks.programs import answers, run, track, wait_for

CONNECTIONS = 256
_FEW_CONNECTIONS = 64
_TIMES_PLAIN = 2.8
_PROCESSES = 2
_READY_IN_A_ROW = 20
_RAMP_S = 1


def measure(bench: Bench) -> list[Figure]:
    """Measure both services in turn."""
    plain: list[Load] = []
    ours: list[Load] = []
    few: list[Load] = []
    with bench.namespace() as settings:
        for number in range(1, bench.sizes.http_rounds + 1):
            plain.append(_measure_plain(bench, settings))
            with ingest(settings) as serving:
                ours.append(measure_load(bench, serving, serving.port, CONNECTIONS))
                few.append(measure_load(bench, serving, serving.port, _FEW_CONNECTIONS))
            bench.say(
                f"single events, round {number}: plain {plain[-1].per_s:,.0f}, "
                f"ours {ours[-1].per_s:,.0f}, over {_FEW_CONNECTIONS} connections "
                f"{few[-1].per_s:,.0f} requests/s"
            )
    return _figures(plain, ours, few)


def _figures(plain: list[Load], ours: list[Load], few: list[Load]) -> list[Figure]:
    plain_rates, our_rates = ([load.per_s for load in loads] for loads in (plain, ours))
    ratios = [mine / other for mine, other in zip(our_rates, plain_rates, strict=True)]
    target = Target(round(_TIMES_PLAIN * median(plain_rates)), at_least=True)
    return [
        Figure(
            "http_single_vs_plain",
            median(ratios),
            f"{tool_name()}, {CONNECTIONS} connections; {spread(ratios, 2)}",
        ),
        _rate(f"http_single_{CONNECTIONS}_rps", ours, "two `track ingest` processes", target),
        _rate(f"http_single_{_FEW_CONNECTIONS}_rps", few, f"{_FEW_CONNECTIONS} connections"),
        _rate("http_plain_rps", plain, "Starlette + send_and_wait, one process"),
    ]


def _rate(name: str, loads: list[Load], what: str, target: Target | None = None) -> Figure:
    rates, p99 = [load.per_s for load in loads], median(load.p99_ms for load in loads)
    return Figure(name, median(rates), f"{what}, p99 {p99:.0f} ms; {spread(rates)}", target)


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
        return measure_load(bench, settings, port, CONNECTIONS)


@contextmanager
def ingest(settings: Settings) -> Iterator[Settings]:
    """Run ingest as the stack does, on a free port, and give the settings that name it."""
    serving = dataclasses.replace(settings, port=free_port())
    with track(serving, "ingest"), track(serving, "ingest"):
        wait_for(
            lambda: all(answers(serving.port, "/readyz") for _ in range(_READY_IN_A_ROW)),
            f"the start of {_PROCESSES} ingest processes",
            30,
        )
        yield serving


def measure_load(bench: Bench, settings: Settings, port: int, connections: int) -> Load:
    """Put load on a service for a second, then for the seconds that count.

    Raises:
        BenchmarkError: a request failed, or the topic has fewer records than there were answers.
    """
    url = f"http://127.0.0.1:{port}/track"
    put_load(url, connections, _RAMP_S)
    before = count_records(settings)
    load = put_load(url, connections, bench.sizes.http_s)
    written = count_records(settings) - before
    if written < load.requests:
        raise BenchmarkError(f"{load.requests} answers, but {written} new records in Kafka")
    return load


def count_records(settings: Settings) -> int:
    """Return how many records the topic of events holds."""
    topic = Topics.of(settings.namespace).events
    return sum(asyncio.run(end_offsets(settings, topic)).values())
