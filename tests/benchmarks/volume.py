"""`query_100m_p99_ms`, `query_100m_vs_10m`, `questions_100m_p99_ms`: a year by day out of ten times
the events, and every other question.

Ten million events and two million sessions, then ten times as many, of a million users in both,
loaded and asked for as in `questions`, but by day: 365 days of five events each. Merges are given
five minutes to settle. `query_100m_p99_ms` is the worst of the four questions; `query_100m_vs_10m`
is how many times as long a question takes over a hundred million events as over ten, the worst of
the four again, by their medians: the one request in a hundred says more about the machine's rest.

`questions_100m_p99_ms` is the worst of all other questions but those that read rows by values of
metadata or attributes, `questions_100m_rows_p99_ms`. As in use, `events` has the last thirty days.

It needs 30 GB where temporary files go, and a quarter of an hour.

Where the targets come from: an answer within 50 ms feels immediate. The rollups have as many rows a
day however many events there are, and a user's lie together, so the time should stay what it is; a
half is granted to what does grow: the days on which a user has done something.
"""

from __future__ import annotations

import shutil

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure, percentile
from tests.benchmarks.questions import ROWS, Volume, time_answers

_TIMES = 10
BYTES_AN_EVENT = 300

Taken = dict[str, list[float]]


def measure(bench: Bench) -> list[Figure]:
    """Measure the tenth first, then the whole."""
    sizes = bench.sizes
    whole = Volume(
        sizes.volume_events,
        sizes.volume_sessions,
        sizes.volume_users,
        sizes.volume_settled_within_s,
    )
    tenth = Volume(
        whole.events // _TIMES, whole.sessions // _TIMES, whole.users, whole.settled_within_s
    )
    needed = BYTES_AN_EVENT * whole.events
    if shutil.disk_usage(bench.folder).free < needed:
        raise BenchmarkError(
            f"{bench.folder} has less than {needed / 1e9:.0f} GB; name a larger place by TMPDIR"
        )
    small = time_answers(bench, tenth, "day")
    large = time_answers(bench, whole, "day", all_kinds=True)
    others = {name: large.pop(name) for name in [*large] if name not in small}
    return [*_figures(small, large, whole, sizes.query_requests), *_others(others)]


def _others(others: Taken) -> list[Figure]:
    of_rows = {name: each for name, each in others.items() if name.endswith(ROWS)}
    quick = {name: each for name, each in others.items() if name not in of_rows}
    return [
        _worst("questions_100m_p99_ms", quick),
        _worst("questions_100m_rows_p99_ms", of_rows),
        *_each("100m", others),
    ]


def _worst(name: str, taken: Taken) -> Figure:
    worst = max(taken, key=lambda kind: percentile(taken[kind], 0.99))
    return Figure(name, percentile(taken[worst], 0.99), f"{len(taken)} questions; worst: {worst}")


def _figures(small: Taken, large: Taken, whole: Volume, requests: int) -> list[Figure]:
    worst = max(large, key=lambda name: percentile(large[name], 0.99))
    growths = {name: _median(large[name]) / _median(small[name]) for name in large}
    words = ", ".join(f"{name} {growth:.2f}" for name, growth in growths.items())
    return [
        Figure(
            "query_100m_p99_ms",
            percentile(large[worst], 0.99),
            f"{whole.events:,} events, {whole.users:,} users, a year by day, {requests} requests "
            f"each; the worst: {worst}",
        ),
        Figure("query_100m_vs_10m", max(growths.values()), f"medians; {words}"),
        *_each("100m", large),
        *_each("10m", small),
    ]


def _each(size: str, taken: Taken) -> list[Figure]:
    return [
        Figure(
            f"query_{size}_{name}_p99_ms",
            percentile(each, 0.99),
            f"longest {max(each):.1f} ms, p50 {_median(each):.1f} ms",
        )
        for name, each in taken.items()
    ]


def _median(values: list[float]) -> float:
    return percentile(values, 0.5)
