"""`latency_p50_ms`, `latency_p99_ms`, `latency_idle_p50_ms`: from the answer to being counted.

The whole stack runs by `track up`. Beside it a generator of its own process sends 2,000 events a
second in open loop. A probe is a fresh user: its event is sent by POST /track, and from the answer
on `GET /metrics?user_id=…` is asked every 5 ms until it counts the event; the time between the two
is the latency. Probes begin at a constant rate, four a second, whatever the ones before do, at most
eight at once: the asking is a load of its own, and the table says how large. The generator runs for
45 seconds before the first, since Kafka's and ClickHouse's first half minute is that of compilers
and cold caches. The idle figure is the same without the generator. At the end an analyst asks heavy
questions without a pause, and the same is measured beside them, with the time until the probes'
events were answered: whether a slow question slows ingestion.

Where the target comes from: prototypes of the three stages in a row took 34 ms in the median when
idle; a dashboard that is half a second behind is called live.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import uvloop

from cli.http_connection import HTTPConnection
from tests.benchmarks.asking import Analyst
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure, percentile
from tests.benchmarks.load_generator import Sent
from tests.benchmarks.programs import ROOT
from tests.benchmarks.sizes import Sizes
from tests.running_stack import running_stack

_AT_ONCE = 8
_ASK_EVERY_S = 0.005
_COUNTED_WITHIN_S = 30.0
_IDLE_GAP_S = 0.1
_SETTLE_S = 3.0
_EMPTY = b'"data":[]'
_LEAST_SHARE = 0.95  # of the rate that the generator is to keep


@dataclass(frozen=True, slots=True)
class _Probed:
    """The latencies of the probes and of their answers (ms), and how often a second they asked."""

    ms: list[float]
    answer_ms: list[float]
    asked_per_s: float


def measure(bench: Bench) -> list[Figure]:
    """Measure without load, then under load."""
    with running_stack(bench.folder / "latency") as stack:
        bench.say("latency: the stack runs")
        analyst = Analyst(stack.stack.analyst, stack.stack.namespace)
        figures: list[Figure] = uvloop.run(_measure(stack.http, analyst, bench))
        return figures


async def _measure(url: str, analyst: Analyst, bench: Bench) -> list[Figure]:
    sizes = bench.sizes
    await asyncio.sleep(_SETTLE_S)
    idle = await _probe(url, sizes.idle_probes, _IDLE_GAP_S)
    bench.say(f"latency, idle: p50 {percentile(idle.ms, 0.5):.0f} ms")
    async with _load(url, sizes) as loading:
        await asyncio.sleep(sizes.latency_warm_up_s)
        gap_s = sizes.latency_s / sizes.latency_probes
        busy = await _probe(url, sizes.latency_probes, gap_s)
        with analyst.asking() as rounds:
            beside = await _probe(url, round(sizes.latency_beside_s / gap_s), gap_s)
        sent = await loading
    per_s = sent.answered / sent.seconds
    if sent.failed or sent.unanswered or per_s < _LEAST_SHARE * sizes.latency_rate:
        raise BenchmarkError(
            f"the load was not kept: {per_s:,.0f} events/s answered, {sent.failed} failed, "
            f"{sent.unanswered} without an answer"
        )
    load = f"{per_s:,.0f} events/s, whose generator used {sent.cpu_s / sent.seconds:.0%} of a core"
    return [
        Figure(
            "latency_p50_ms",
            percentile(busy.ms, 0.5),
            f"{len(busy.ms)} probes, asking {busy.asked_per_s:.0f} times a second, beside {load}",
        ),
        _longest("latency_p99_ms", busy),
        Figure("latency_idle_p50_ms", percentile(idle.ms, 0.5), f"{len(idle.ms)} probes, no load"),
        _longest("latency_idle_p99_ms", idle),
        *_of_analyst(busy, beside, len(rounds)),
    ]


def _longest(name: str, probed: _Probed) -> Figure:
    return Figure(name, percentile(probed.ms, 0.99), f"the same; longest {max(probed.ms):,.0f} ms")


def _of_analyst(alone: _Probed, beside: _Probed, rounds: int) -> list[Figure]:
    """Return how long events took to be answered, and to be counted, beside an analyst."""
    words = f"beside the same load and {rounds} rounds of an analyst's heavy questions"
    return [
        Figure("answer_p50_ms", percentile(alone.answer_ms, 0.5), "POST /track, the same probes"),
        Figure("answer_p99_ms", percentile(alone.answer_ms, 0.99), "the same"),
        Figure("answer_beside_analyst_p50_ms", percentile(beside.answer_ms, 0.5), words),
        Figure("answer_beside_analyst_p99_ms", percentile(beside.answer_ms, 0.99), "the same"),
        Figure("latency_beside_analyst_p50_ms", percentile(beside.ms, 0.5), words),
        _longest("latency_beside_analyst_p99_ms", beside),
    ]


@asynccontextmanager
async def _load(url: str, sizes: Sizes) -> AsyncIterator[asyncio.Task[Sent]]:
    """Run the generator a little longer than the probes will take."""
    seconds = sizes.latency_warm_up_s + sizes.latency_s + sizes.latency_beside_s + 2
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.load_generator",
        url, str(sizes.latency_rate), str(seconds),
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip

    async def result() -> Sent:
        async with asyncio.timeout(seconds + 60):
            output, _ = await process.communicate()
        return msgspec.json.decode(output, type=Sent)

    task = asyncio.create_task(result())
    try:
        yield task
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.gather(task, return_exceptions=True)


async def _probe(url: str, probes: int, gap_s: float) -> _Probed:
    """Begin a probe every `gap_s` seconds; return what they saw."""
    free = [HTTPConnection(url) for _ in range(_AT_ONCE)]
    turns = asyncio.Semaphore(_AT_ONCE)
    began = time.monotonic()

    async def probe(number: int) -> tuple[float, float, int]:
        await asyncio.sleep(began + number * gap_s - time.monotonic())
        async with turns:
            connection = free.pop()
            try:
                return await _time_until_counted(connection)
            finally:
                free.append(connection)

    try:
        seen = await asyncio.gather(*map(probe, range(probes)))
    finally:
        for connection in free:
            connection.close()
    questions = sum(asked for _, _, asked in seen)
    return _Probed(
        [ms for ms, _, _ in seen],
        [answer_ms for _, answer_ms, _ in seen],
        questions / (time.monotonic() - began),
    )


async def _time_until_counted(connection: HTTPConnection) -> tuple[float, float, int]:
    """Return how long until an event was counted and answered (ms), and how often it was asked."""
    user = f"probe-{secrets.token_hex(8)}"
    today = datetime.now(UTC).date()
    # Either day, should midnight pass meanwhile.
    path = f"/metrics?start_date={today}&end_date={today + timedelta(days=1)}&user_id={user}"
    sent_at = time.monotonic()
    answer = await connection.request("POST", "/track", _body(user))
    answered_at = time.monotonic()
    if answer.status != 200:
        raise BenchmarkError(f"a probe was answered with {answer.status}: {answer.body!r}")
    asked = 0
    while time.monotonic() - answered_at < _COUNTED_WITHIN_S:
        asked_at, asked = time.monotonic(), asked + 1
        answer = await connection.request("GET", path)
        if answer.status != 200:
            raise BenchmarkError(f"/metrics answered {answer.status}: {answer.body!r}")
        now = time.monotonic()
        if _EMPTY not in answer.body:
            return 1000 * (now - answered_at), 1000 * (answered_at - sent_at), asked
        await asyncio.sleep(max(0.0, asked_at + _ASK_EVERY_S - now))
    raise BenchmarkError(f"{user} is not counted after {_COUNTED_WITHIN_S:.0f} s")


def _body(user: str) -> bytes:
    return b'{"event":"play","user_id":"%b","metadata":{"song_id":"song-1"}}' % user.encode()
