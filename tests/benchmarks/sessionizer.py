"""`sessionizer_events_per_s`, `sessionizer_vs_faust`, `sessionizer_cpu_two_vs_one`.

When real `track sessionizer` processes have joined, the events are written to `<namespace>.events`
behind a dam; then the dam is opened. The rate is the events by the seconds from the first to the
last CreateTime in `<namespace>.accepted`. CPU seconds are user and system time of the sessionizers
alone, from the opening of the dam to the moment when the group's offsets stand at the end of the
log. Every run's outputs are compared, byte by byte, with those of the pure step; a difference
makes no figure.

Where the targets come from: Kafka Streams pairs 35,000 to 57,000 events/s exactly once on such a
machine when it has just started (twice as many when it is warm: see `streams`), a loop that keeps
its state in memory alone 100,000 to 140,000; Faust in its plainest form 4,100. Two workers should
cost no more than one: what they cost more is what growth costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from contracts.topics import Topics
from deploy.local.processes import Running
from runtime.settings import Settings
from runtime.startup import read_kafka_log
from tests.benchmarks.bench import PARTITIONS, Bench
from tests.benchmarks.figures import BenchmarkError, Figure, spread
from tests.benchmarks.log import (
    Records,
    dam,
    end_offsets,
    seconds_between,
    wait_for_group_offsets,
    wait_until_joined,
    write,
)
from tests.benchmarks.made_events import make_events
from tests.benchmarks.programs import cpu_s, track
from tests.benchmarks.stock_faust_rate import measure_faust
from tests.processors.sessionizer.running import Expected, read_topic

_DONE_WITHIN_S = 120.0
_LEAST_SHARE = 0.5  # of what each of several workers would do if they did the same


@dataclass(frozen=True, slots=True)
class Run:
    """What a run with some workers has shown."""

    events_per_s: float
    cpu_s_per_million: float
    largest_share: float


def measure(bench: Bench) -> list[Figure]:
    """Measure one worker and two, in turn, and stock Faust."""
    sizes = bench.sizes
    events = make_events(sizes.events, sizes.users, PARTITIONS)
    one: list[Run] = []
    two: list[Run] = []
    for number in range(1, sizes.runs + 1):
        for runs, workers in ((one, 1), (two, 2)):
            runs.append(run_workers(bench, events, workers))
            bench.say(
                f"sessionizer, {workers} worker{'s' * (workers > 1)}, run {number}: "
                f"{runs[-1].events_per_s:,.0f} events/s, "
                f"{runs[-1].cpu_s_per_million:.2f} CPU s a million"
            )
    faust = measure_faust(bench)
    return _figures(one, two, faust, sizes.events)


def _figures(one: Sequence[Run], two: Sequence[Run], faust: Figure, events: int) -> list[Figure]:
    rates = [run.events_per_s for run in one]
    cpu = [median(run.cpu_s_per_million for run in runs) for runs in (one, two)]
    ratios = [b.cpu_s_per_million / a.cpu_s_per_million for a, b in zip(one, two, strict=True)]
    two_rates = [run.events_per_s for run in two]
    shares = max(run.largest_share for run in two)
    return [
        Figure(
            "sessionizer_events_per_s",
            median(rates),
            f"{events:,} events, one worker, outputs checked; {spread(rates)}",
        ),
        Figure(
            "sessionizer_two_events_per_s", median(two_rates), f"two workers; {spread(two_rates)}"
        ),
        Figure(
            "sessionizer_vs_faust", median(rates) / faust.value, "one worker each, the same events"
        ),
        faust,
        Figure(
            "sessionizer_cpu_two_vs_one",
            cpu[1] / cpu[0],
            f"CPU s a million, medians; run by run {spread(ratios, 2)}; "
            f"the busier worker had at most {shares:.0%}",
        ),
        Figure("sessionizer_cpu_s_per_million", cpu[0], "user + system, one worker"),
        Figure("sessionizer_two_cpu_s_per_million", cpu[1], "user + system, both workers"),
    ]


def run_workers(bench: Bench, events: Sequence[Records], workers: int) -> Run:
    """Run so many workers over these events, given by partition.

    Raises:
        BenchmarkError: the outputs are not what they must be, or a worker had little to do.
    """
    with bench.namespace(len(events)) as settings:
        return asyncio.run(_run_in(settings, events, workers))


async def _run_in(settings: Settings, events: Sequence[Records], workers: int) -> Run:
    topics = Topics.of(settings.namespace)
    group = f"{settings.namespace}.sessionizer"
    count = sum(map(len, events))
    with ExitStack() as running:
        started = [running.enter_context(track(settings, "sessionizer")) for _ in range(workers)]
        await wait_until_joined(settings, group, workers)
        async with dam(settings, topics.events) as held:
            await write(settings, topics.events, events)
            ends = await end_offsets(settings, topics.events)
            before = _cpu(started)
            await held.open()
            await wait_for_group_offsets(settings, group, topics.events, ends, _DONE_WITHIN_S)
            used = [after - begun for after, begun in zip(_cpu(started), before, strict=True)]
    if min(used) < _LEAST_SHARE * sum(used) / workers:
        raise BenchmarkError(f"{workers} workers did not share the work: {used} CPU seconds")
    taken_s = await _check_outputs(settings, count)
    return Run(count / taken_s, 1e6 * sum(used) / count, max(used) / sum(used))


def _cpu(running: Sequence[Running]) -> list[float]:
    return [cpu_s(each.pid) for each in running]


async def _check_outputs(settings: Settings, count: int) -> float:
    """Compare all outputs with the pure step's; return the seconds that the outputs span.

    Raises:
        BenchmarkError: they differ.
    """
    topics = Topics.of(settings.namespace)
    log = await read_kafka_log(settings)
    assert log is not None
    events = await read_topic(settings, topics.events)
    if sum(map(len, events.values())) != count:
        raise BenchmarkError(f"the log does not hold the {count:,} events that were written")
    expected = Expected(settings, log.id, events)
    for name in ("accepted", "sessions", "rejected"):
        found = await read_topic(settings, getattr(topics, name))
        for partition, records in found.items():
            if [record.value for record in records] != getattr(expected, name)[partition]:
                raise BenchmarkError(f"{name}, partition {partition}, is not what it must be")
        if name == "accepted":
            taken_s = seconds_between(found)
    return taken_s
