"""`query_100m_p99_ms`, `query_100m_vs_10m`, `questions_100m_p99_ms`, `stream_mb`: a year by day out
of ten times the events, every other question, and all sessions at once.

Ten million events and two million sessions, then ten times as many, of a million users in both,
loaded and asked for as in `questions`, but by day: 365 days of five events each. Merges are given
five minutes to settle. `query_100m_p99_ms` is the worst of the four questions; `query_100m_vs_10m`
is how many times as long a question takes over a hundred million events as over ten, the worst of
the four again, by their medians: the one request in a hundred says more about the machine's rest.

`questions_100m_p99_ms` is the worst of all other questions but those that read rows by values of
metadata or attributes, `questions_100m_rows_p99_ms`. As in use, `events` has the last thirty days.
Of different users and of quantiles a service knows what it has found (`query/known.py`), so that
its first answer takes longer than those that are counted: that time stands beside each.

Last of all the twenty million sessions are read as one stream: `stream_mb` is how much more memory
the service held at most meanwhile than before; a stream that is not held grows by its buffers.

It needs 30 GB where temporary files go, and a quarter of an hour.

Where the targets come from: an answer within 50 ms feels immediate. The rollups have as many rows a
day however many events there are, and a user's lie together, so the time should stay what it is; a
half is granted to what does grow: the days on which a user has done something.
"""

from __future__ import annotations

import shutil
import time
import urllib.request

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure
from tests.benchmarks.programs import memory_mb
from tests.benchmarks.questions import ROWS, Service, Taken, Volume, loaded

_TIMES = 10
_PIECE = 1 << 20
_STREAM_PIECE_S = 60
BYTES_AN_EVENT = 300


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
    with loaded(bench, tenth, "day") as service:
        small = service.time_answers()
    with loaded(bench, whole, "day") as service:
        large = service.time_answers(all_kinds=True)
        streamed = _stream(service)
    others = {name: large.pop(name) for name in [*large] if name not in small}
    return [*_figures(small, large, whole, sizes.query_requests), *_others(others), streamed]


def _stream(service: Service) -> Figure:
    """Read all sessions of the year as lines of CSV."""
    year = service.year
    asked = f"start_date={year.first}&end_date={year.last}&limit=none&format=csv"
    before_mb, began = memory_mb(service.pid), time.monotonic()
    url = f"http://127.0.0.1:{service.port}/sessions/list?{asked}"
    with urllib.request.urlopen(url, timeout=_STREAM_PIECE_S) as answer:
        lines = sum(piece.count(b"\n") for piece in iter(lambda: answer.read(_PIECE), b""))
    taken_s, rows = time.monotonic() - began, lines - 1
    if rows != service.volume.sessions:
        raise BenchmarkError(f"the stream had {rows:,} of {service.volume.sessions:,} sessions")
    most_mb = memory_mb(service.pid, "VmHWM")
    words = f"{rows:,} sessions as CSV, {rows / taken_s:,.0f} rows/s; at most {most_mb:.0f} MB"
    return Figure("stream_mb", most_mb - before_mb, words)


def _others(others: Taken) -> list[Figure]:
    of_rows = {name: each for name, each in others.items() if name.endswith(ROWS)}
    quick = {name: each for name, each in others.items() if name not in of_rows}
    return [
        _worst("questions_100m_p99_ms", quick),
        _worst("questions_100m_rows_p99_ms", of_rows),
        *_each("100m", others),
    ]


def _worst(name: str, taken: Taken) -> Figure:
    worst = max(taken, key=lambda kind: taken[kind].part(0.99))
    return Figure(name, taken[worst].part(0.99), f"{len(taken)} questions; worst: {worst}")


def _figures(small: Taken, large: Taken, whole: Volume, requests: int) -> list[Figure]:
    worst = max(large, key=lambda name: large[name].part(0.99))
    growths = {name: large[name].part(0.5) / small[name].part(0.5) for name in large}
    words = ", ".join(f"{name} {growth:.2f}" for name, growth in growths.items())
    return [
        Figure(
            "query_100m_p99_ms",
            large[worst].part(0.99),
            f"{whole.events:,} events, {whole.users:,} users, a year by day, {requests} requests "
            f"each; the worst: {worst}",
        ),
        Figure("query_100m_vs_10m", max(growths.values()), f"medians; {words}"),
        *_each("100m", large),
        *_each("10m", small),
    ]


def _each(size: str, taken: Taken) -> list[Figure]:
    return [
        Figure(f"query_{size}_{name}_p99_ms", each.part(0.99), str(each))
        for name, each in taken.items()
    ]
