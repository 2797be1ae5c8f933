"""`pipeline_http_events_per_s`, `pipeline_kafka_events_per_s`: from the sender to rows, sustained.

Everything on this machine: Kafka, ClickHouse, two `track ingest` (for HTTP), one `track
sessionizer`, one `track writer`, and the sender. The sender may be so many events ahead of the rows
in ClickHouse, and is told four times a second how far these are: so the lag is bounded, and the
rate is what the whole way sustains: the rows of five minutes. In the end rows and rollups must be
as many as were acknowledged. Memory is that of sessionizer and writer, after a minute and in the
end.

Where the targets come from: the parts' prototypes, each on its own, make 336,000 (ingest),
100,000 (sessionizer) and 200,000 events/s (writer) of the same two cores.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.topics import Topics
from deploy.local.processes import Running
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure
from tests.benchmarks.pipeline_sender import Sent
from tests.benchmarks.programs import ROOT, cpu_s, track, wait_for
from tests.benchmarks.single_events import ingest
from tests.benchmarks.writer import COUNT_ROWS, COUNTED, check_counts, count_of

AHEAD = 150_000
_TELL_EVERY_S = 0.25
_DRAINED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run has shown; memory in MB and CPU seconds a million events by service."""

    events_per_s: float
    slowest_minute: float
    memory_mb: tuple[float, float]
    cpu_s: dict[str, float]


def measure(bench: Bench) -> list[Figure]:
    """Measure with HTTP at the front, then with a Kafka producer."""
    figures: list[Figure] = []
    for front, run in (("http", _over_http), ("kafka", _from_kafka)):
        with bench.namespace() as settings:
            done = run(bench, settings)
        bench.say(f"pipeline, {front}: {done.events_per_s:,.0f} events/s")
        figures += _figures(front, done, bench.sizes.pipeline_s)
    return figures


def _figures(front: str, run: _Run, seconds: float) -> Iterator[Figure]:
    cpu = ", ".join(f"{name} {used:.1f}" for name, used in run.cpu_s.items())
    yield Figure(
        f"pipeline_{front}_events_per_s",
        run.events_per_s,
        f"{seconds:.0f} s, at most {AHEAD:,} events ahead of the rows; slowest minute "
        f"{run.slowest_minute:,.0f}; CPU s a million: {cpu}",
    )
    early, late = run.memory_mb
    yield Figure(
        f"pipeline_{front}_memory_growth",
        late / early,
        f"sessionizer and writer: {early:.0f} MB after a minute, {late:.0f} MB in the end",
    )


def _over_http(bench: Bench, settings: Settings) -> _Run:
    with ingest(settings) as serving, _workers(serving) as workers:
        arguments = ("http", f"http://127.0.0.1:{serving.port}")
        return _measure(bench, serving, workers, arguments)


def _from_kafka(bench: Bench, settings: Settings) -> _Run:
    topic = Topics.of(settings.namespace).events
    with _workers(settings) as workers:
        arguments = ("kafka", settings.kafka, topic, str(settings.partitions))
        return _measure(bench, settings, workers, arguments)


@contextmanager
def _workers(settings: Settings) -> Iterator[dict[str, Running]]:
    with ExitStack() as running:
        yield {
            name: running.enter_context(track(settings, name)) for name in ("sessionizer", "writer")
        }


def _measure(
    bench: Bench, settings: Settings, workers: dict[str, Running], arguments: Sequence[str]
) -> _Run:
    client = connect_sync(settings)
    try:
        with _sender(arguments) as sender:
            rows_at = _Rows(client, sender)
            rows_at.follow(bench.sizes.pipeline_warm_up_s, workers.values())
            before, used = rows_at.rows, {name: cpu_s(each.pid) for name, each in workers.items()}
            marks = [(time.monotonic(), before)]
            memory: list[float] = []
            for _ in range(5):
                rows_at.follow(bench.sizes.pipeline_s / 5, workers.values())
                marks.append((time.monotonic(), rows_at.rows))
                memory.append(sum(map(_memory_mb, workers.values())))
            cpu = {name: cpu_s(each.pid) - used[name] for name, each in workers.items()}
            sent = _end(sender)
        # A block is seen in its table a moment before it is seen in the rollups behind.
        wait_for(
            lambda: all(count_of(client, each) >= sent.events for each in COUNTED),
            "the rest",
            _DRAINED_WITHIN_S,
            *workers.values(),
        )
        check_counts(client, sent.events)
    finally:
        client.close()
    rates = [(b - a) / (then - begun) for (begun, a), (then, b) in itertools.pairwise(marks)]
    done = marks[-1][1] - before
    return _Run(
        done / (marks[-1][0] - marks[0][0]),
        min(rates),
        (memory[0], memory[-1]),
        {name: 1e6 * seconds / done for name, seconds in cpu.items()},
    )


class _Rows:
    """Follows the rows, and lets the sender be so far ahead of them."""

    def __init__(self, client: Client, sender: subprocess.Popen[bytes]) -> None:
        self.rows = 0
        self._client, self._sender = client, sender

    def follow(self, seconds: float, watched: Collection[Running]) -> None:
        """Do so for some seconds; whoever ends meanwhile ends the measurement."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.rows = count_of(self._client, COUNT_ROWS)
            assert self._sender.stdin is not None  # it was asked for
            self._sender.stdin.write(b"%d\n" % (self.rows + AHEAD))
            self._sender.stdin.flush()
            if self._sender.poll() is not None or any(
                each.exit_code is not None for each in watched
            ):
                raise BenchmarkError("the sender or a service has ended during the load")
            time.sleep(_TELL_EVERY_S)


@contextmanager
def _sender(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.benchmarks.pipeline_sender", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _end(sender: subprocess.Popen[bytes]) -> Sent:
    """End the load; return what was acknowledged."""
    said, _ = sender.communicate(timeout=_DRAINED_WITHIN_S)
    return msgspec.json.decode(said, type=Sent)


def _memory_mb(running: Running) -> float:
    status = Path(f"/proc/{running.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024
