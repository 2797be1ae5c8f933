"""What growth costs: more workers, more open plays, a restart with a million of them.

`growth_cpu_s_per_million_1` … `_8`: CPU seconds, user and system, of 1, 2, 4 and 8 workers together
over the same events in 16 partitions, as `sessionizer_cpu_two_vs_one` has them. What the figures
show is what more of them cost, also where there are fewer cores than workers.

`growth_open_plays_1k_us` … `_1m_us`: CPU microseconds of one worker an event while so many plays
are open. The same thousand users stop and play again at every level, so that the work is the same;
the other plays only lie there. `growth_open_plays_1m_spread_us`: the same, of users drawn from all.

`restore_s_per_million_plays`, `memory_mb_per_million_plays`: this worker is stopped and started
again, with a window of duplicates of one event, so that only the plays count: the seconds that it
says its slowest partition took, and its memory (RSS) less what a worker without plays has. The two
again with the window as it is set, where the ids of the last million offsets of each partition are
read back as well: `…_and_ids`.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from contracts.topics import Partitioner, Topics
from deploy.local.processes import Running
from runtime.settings import Settings
from tests.benchmarks.bench import PARTITIONS, Bench
from tests.benchmarks.figures import BenchmarkError, Figure, spread
from tests.benchmarks.log import Records, dam, end_offsets, wait_for_group_offsets, write
from tests.benchmarks.made_events import make_event, make_events
from tests.benchmarks.programs import cpu_s, memory_mb, track
from tests.benchmarks.sessionizer import Run, run_workers
from tests.processors.sessionizer.running import read_topic

_WORKERS = (1, 2, 4, 8)
_PARTITIONS = 16
_ACTIVE_USERS = 1_000
_STEPS = ("stop", "play", "pause", "product_view")  # of a user with an open play; one stays open
_AGE_MS = 60_000  # of the first event; they span ten seconds
_DONE_WITHIN_S = 120.0
_RESTORED = re.compile(r"restored in ([\d.]+) s")


@dataclass(frozen=True, slots=True)
class _Restart:
    """What a worker that was started has shown when it was ready."""

    restore_s: float
    memory_mb: float


def measure(bench: Bench) -> list[Figure]:
    """Measure workers, then open plays, then restarts with them."""
    return [*_measure_workers(bench), *_measure_open_plays(bench)]


def _measure_workers(bench: Bench) -> list[Figure]:
    sizes = bench.sizes
    events = make_events(sizes.events, sizes.users, _PARTITIONS)
    runs: dict[int, list[Run]] = {workers: [] for workers in _WORKERS}
    for number in range(1, sizes.runs + 1):
        for workers in _WORKERS:
            runs[workers].append(run_workers(bench, events, workers))
            bench.say(
                f"growth, {workers} worker{'s' * (workers > 1)}, run {number}: "
                f"{runs[workers][-1].cpu_s_per_million:.2f} CPU s a million, "
                f"{runs[workers][-1].events_per_s:,.0f} events/s"
            )
    costs = {count: [run.cpu_s_per_million for run in each] for count, each in runs.items()}
    ratios = [last / first for first, last in zip(costs[1], costs[_WORKERS[-1]], strict=True)]
    return [
        *(
            Figure(
                f"growth_cpu_s_per_million_{count}",
                median(each),
                f"workers: {count}, 16 partitions, outputs checked; {spread(each, 2)}",
            )
            for count, each in costs.items()
        ),
        Figure(
            f"growth_cpu_{_WORKERS[-1]}_vs_1",
            median(ratios),
            f"CPU seconds, the same events, 16 partitions; {spread(ratios, 2)}",
        ),
    ]


def _measure_open_plays(bench: Bench) -> list[Figure]:
    with bench.namespace() as settings:
        empty = _restart(replace(settings, duplicate_window=1))
        figures = asyncio.run(_measure_levels(bench, settings))
        plays = bench.sizes.growth_open_plays[-1]
        events = plays + len(figures) * bench.sizes.growth_events
        alone = _restart(replace(settings, duplicate_window=1))
        with_ids = _restart(settings)
    return [
        *figures,
        *_restart_figures("", alone, empty, plays, "the plays alone"),
        *_restart_figures("_and_ids", with_ids, empty, plays, f"and the ids of {events:,} events"),
    ]


def _restart_figures(
    suffix: str, restart: _Restart, empty: _Restart, plays: int, what: str
) -> list[Figure]:
    millions = plays / 1e6
    held_mb = restart.memory_mb - empty.memory_mb
    return [
        Figure(
            f"restore_s_per_million_plays{suffix}",
            restart.restore_s / millions,
            f"{plays:,} open plays of as many users, {PARTITIONS} partitions at once; {what}",
        ),
        Figure(
            f"memory_mb_per_million_plays{suffix}",
            held_mb / millions,
            f"RSS when ready, less the {empty.memory_mb:.0f} MB of an empty one; {what}",
        ),
    ]


def _restart(settings: Settings) -> _Restart:
    """Start a worker, see what it says and holds when it is ready, and end it."""
    log = settings.home / "sessionizer.log"
    said_before = log.stat().st_size if log.exists() else 0
    with track(settings, "sessionizer") as worker:
        memory = memory_mb(worker.pid)
        with log.open("rb") as file:
            file.seek(said_before)
            seconds = [float(each) for each in _RESTORED.findall(file.read().decode())]
    return _Restart(max(seconds), memory)


async def _measure_levels(bench: Bench, settings: Settings) -> list[Figure]:
    """Raise the number of open plays, level by level, and measure the same load at each."""
    sizes, topics = bench.sizes, Topics.of(settings.namespace)
    chance = random.Random(2)
    users = [f"user-{number}" for number in range(sizes.growth_open_plays[-1])]
    figures: list[Figure] = []
    opened = loads = 0
    with track(settings, "sessionizer") as worker:
        for level in sizes.growth_open_plays:
            plays = ((user, "play") for user in users[opened:level])
            await _process(settings, worker, _bodies(plays, chance))
            opened = level
            spreads = [(f"{_short(level)}", users[:_ACTIVE_USERS])]
            if level == len(users):
                spreads.append((f"{_short(level)}_spread", users))
            for name, active in spreads:
                load = _bodies(_load(active, sizes.growth_events, chance), chance)
                used_s = await _process(settings, worker, load)
                loads += 1
                cost_us = 1e6 * used_s / sizes.growth_events
                bench.say(f"growth, {name} open plays: {cost_us:.2f} CPU µs an event")
                how = f"{sizes.growth_events:,} events of {len(active):,} users, {level:,} open"
                figures.append(Figure(f"growth_open_plays_{name}_us", cost_us, how))
    sessions = sum(map(len, (await read_topic(settings, topics.sessions)).values()))
    if sessions != loads * sizes.growth_events // len(_STEPS):
        raise BenchmarkError(f"{sessions:,} sessions are not one for each stop")
    return figures


async def _process(settings: Settings, worker: Running, events: Sequence[Records]) -> float:
    """Let the worker process these events; return the CPU seconds that it took."""
    topic, group = Topics.of(settings.namespace).events, f"{settings.namespace}.sessionizer"
    async with dam(settings, topic) as held:
        await write(settings, topic, events)
        ends = await end_offsets(settings, topic)
        before_s = cpu_s(worker.pid)
        await held.open()
        await wait_for_group_offsets(settings, group, topic, ends, _DONE_WITHIN_S)
        return cpu_s(worker.pid) - before_s


def _load(users: Sequence[str], count: int, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Give (user, kind): each user drawn stops and plays again, so what is open stays."""
    for _ in range(count // len(_STEPS)):
        user = chance.choice(users)
        for kind in _STEPS:
            yield user, kind


def _bodies(events: Iterator[tuple[str, str]], chance: random.Random) -> list[Records]:
    """Return the events as (key, body) by partition, of now: none overtakes another."""
    partitioner = Partitioner(PARTITIONS)
    begin_ms = int(time.time() * 1000) - _AGE_MS
    made: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
    for number, (user, kind) in enumerate(events):
        body = make_event(user, kind, begin_ms + number // 100, chance)
        made[partitioner.partition_of(user)].append((user.encode(), body))
    return list(made)


def _short(count: int) -> str:
    return f"{count // 1_000_000}m" if count >= 1_000_000 else f"{count // 1_000}k"
