"""`http_single_p99_ms`: how long one event takes when 5,000 a second are due, come what may.

Two `track ingest` processes, a generator of its own process, 64 connections, five seconds that do
not count and twenty that do. A request's time begins when it was due and not when it was sent, so
that a pause of the service counts for everybody who would have come during it. The figure is the
median of the rounds'; beside it stands how late the generator itself was, which is in the figure
too. Every answer must be 200, and the topic must hold a record for each.

Where the target comes from: bare Go and Rust have a p99 of 6 ms, and PostHog's capture of 15.6 ms,
at the rates that 64 connections which wait for their answers make.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import msgspec

from runtime.settings import Settings
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure, spread
from tests.benchmarks.open_loop_generator import Timed
from tests.benchmarks.programs import ROOT
from tests.benchmarks.single_events import count_records, ingest

_RATE = 5_000
_CONNECTIONS = 64
_SPARE_S = 60
_LATE_MS = 3.0  # at the 99th percentile: more, and the figure is about the generator


def measure(bench: Bench) -> list[Figure]:
    """Measure some rounds, each on services started anew."""
    rounds: list[Timed] = []
    with bench.namespace() as settings:
        for number in range(1, bench.sizes.http_rounds + 1):
            rounds.append(_measure(bench, settings))
            bench.say(
                f"open loop, round {number}: p50 {rounds[-1].p50_ms:.1f}, "
                f"p99 {rounds[-1].p99_ms:.1f}, p99.9 {rounds[-1].p999_ms:.1f} ms, "
                f"generator late by {rounds[-1].late_p99_ms:.1f} ms at p99"
            )
    return _figures(rounds)


def _figures(rounds: list[Timed]) -> list[Figure]:
    p99 = [each.p99_ms for each in rounds]
    late = [each.late_p99_ms for each in rounds]
    used = median(each.cpu_s / each.seconds for each in rounds)
    busy = sum(each.busy for each in rounds) / sum(each.due for each in rounds)
    verdict = "was LATE" if median(late) > _LATE_MS else "kept its times"
    return [
        Figure(
            "http_single_p99_ms",
            median(p99),
            f"{_RATE:,} requests/s due, {_CONNECTIONS} connections, {busy:.1%} found none free; "
            f"the generator {verdict}; {spread(p99, 1)}",
        ),
        _of("http_single_p50_ms", [each.p50_ms for each in rounds]),
        _of("http_single_p999_ms", [each.p999_ms for each in rounds]),
        Figure(
            "http_generator_late_p99_ms",
            median(late),
            f"how late the generator was, p50 {median(each.late_p50_ms for each in rounds):.1f} ms,"
            f" {used:.0%} of a core; {spread(late, 1)}",
        ),
    ]


def _of(name: str, values: list[float]) -> Figure:
    return Figure(name, median(values), f"the same; {spread(values, 1)}")


def _measure(bench: Bench, settings: Settings) -> Timed:
    sizes = bench.sizes
    with ingest(settings) as serving:
        before = count_records(settings)
        timed = _generate(serving.port, sizes.open_loop_warm_up_s, sizes.open_loop_s)
        written = count_records(settings) - before
    if timed.failed or timed.answered < timed.due or written < timed.answered:
        raise BenchmarkError(
            f"of {timed.due} requests {timed.answered} were answered, {timed.failed} failed, and "
            f"{written} records were written"
        )
    return timed


def _generate(port: int, warm_up_s: float, seconds: float) -> Timed:
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.benchmarks.open_loop_generator",
            f"http://127.0.0.1:{port}",
            *map(str, (_RATE, _CONNECTIONS, warm_up_s, seconds)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=warm_up_s + seconds + _SPARE_S,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BenchmarkError(f"the generator failed: {done.stderr[-400:]}")
    return msgspec.json.decode(done.stdout, type=Timed)
