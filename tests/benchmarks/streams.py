"""`sessionizer_vs_kafka_streams_eos`, `sessionizer_vs_quix`, `sessionizer_vs_bytewax`.

The sessionizer, one worker, and others that make the same accepted events and sessions of the same
events: Kafka Streams exactly once on one thread and on two, Quix Streams and Bytewax by their
defaults (at least once, which asks less of them). Each runs alone in a namespace of its own, in
turn. It first processes other events of the same users, so that what Java has to compile is
compiled; then the measured ones are written behind a dam, and the dam is opened. The rate is the
measured events by the seconds from the first to the last CreateTime in `<namespace>.accepted`,
which each of them takes from the clock when it makes the row (Bytewax: when it writes it). What the
sessionizer wrote is compared byte by byte with the pure step's outputs, and what the others wrote,
field by field, with what the sessionizer wrote; a difference makes no figure.

A figure is the median of the rounds' ratios; for Kafka Streams against the better of one and two
threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import msgspec

from contracts.topics import Topics
from deploy.local.processes import Running, ServerError
from runtime.settings import Settings
from runtime.startup import read_kafka_log
from tests.benchmarks.bench import PARTITIONS, Bench
from tests.benchmarks.figures import BenchmarkError, Figure, spread
from tests.benchmarks.kafka_streams.application import KafkaStreams
from tests.benchmarks.log import Records, dam, wait_for_records, write
from tests.benchmarks.made_events import make_events
from tests.benchmarks.programs import cpu_s, run, track
from tests.benchmarks.virtual_environments import python_with
from tests.processors.sessionizer.running import Expected, read_topic

_DONE_WITHIN_S = 180.0

Start = Callable[[Settings], AbstractContextManager[Running]]


class _Accepted(msgspec.Struct, frozen=True, order=True):
    """What every contender's accepted row must say."""

    event_id: str
    user_id: str
    event: str
    timestamp: int
    metadata: Any


class _Session(msgspec.Struct, frozen=True, order=True):
    """What every contender's session must say."""

    play_id: str
    stop_id: str
    user_id: str
    started_at: int
    ended_at: int
    attributes: Any


_decode_accepted = msgspec.json.Decoder(_Accepted).decode
_decode_session = msgspec.json.Decoder(_Session).decode


@dataclass(frozen=True, slots=True)
class _Outputs:
    """What was written, in an order that does not depend on who wrote it."""

    accepted: list[_Accepted]
    sessions: list[_Session]


@dataclass(slots=True)
class _Contender:
    """Who makes the same outputs: a name, how it is started, what its rounds have shown."""

    name: str
    start: Start
    rates: list[float] = field(default_factory=list)
    cpu_s_per_million: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Data:
    """The events by partition: those that are processed before the clock starts, and after."""

    before: Sequence[Records]
    measured: Sequence[Records]

    @property
    def counts(self) -> tuple[int, int]:
        """How many of each there are."""
        return sum(map(len, self.before)), sum(map(len, self.measured))


def measure(bench: Bench) -> list[Figure]:
    """Measure the sessionizer and the others in turn."""
    data = _make_data(bench)
    ours = _Contender("the sessionizer", lambda settings: track(settings, "sessionizer"))
    streams = _kafka_streams(bench)
    others = [*streams, *_python_contenders(bench)]
    reference: _Outputs | None = None
    for number in range(1, bench.sizes.runs + 1):
        for each in (ours, *others):
            try:
                outputs = _run(bench, each, data, is_ours=each is ours)
                if reference is not None:
                    _compare(outputs, reference)
            except (BenchmarkError, TimeoutError) as error:
                if each is ours or each in streams:
                    raise
                bench.say(f"{each.name} gives no figure: {error!r}")
                others.remove(each)
                continue
            reference = reference or outputs
            bench.say(
                f"{each.name}, round {number}: {each.rates[-1]:,.0f} events/s, "
                f"{each.cpu_s_per_million[-1]:.2f} CPU s a million"
            )
    best = max(streams, key=lambda each: median(each.rates))
    figures = _figures(ours, best, "sessionizer_vs_kafka_streams_eos", "kafka_streams_eos")
    for each, name in ((each, each.name.partition(" ")[0].lower()) for each in others):
        if each not in streams:
            figures += _figures(ours, each, f"sessionizer_vs_{name}", name)
    return figures


def _make_data(bench: Bench) -> _Data:
    """Make the events; the first share of each partition's is for before the clock starts."""
    sizes = bench.sizes
    made = make_events(sizes.streams_warm_up + sizes.events, sizes.users, PARTITIONS)
    share = sizes.streams_warm_up / (sizes.streams_warm_up + sizes.events)
    cuts = [round(len(each) * share) for each in made]
    return _Data(
        [each[:cut] for each, cut in zip(made, cuts, strict=True)],
        [each[cut:] for each, cut in zip(made, cuts, strict=True)],
    )


def _kafka_streams(bench: Bench) -> list[_Contender]:
    application = KafkaStreams(bench.folder, bench.say)
    return [
        _Contender("Kafka Streams, two threads", lambda settings: application.run(settings, 2)),
        _Contender("Kafka Streams, one thread", lambda settings: application.run(settings, 1)),
    ]


def _python_contenders(bench: Bench) -> list[_Contender]:
    """Return those of Python whose packages can be installed; say of the others why not."""
    contenders = []
    for name, requirements, arguments in (
        ("Quix Streams", "quix", ["-m", "tests.benchmarks.stock_quix"]),
        ("Bytewax", "bytewax", ["-m", "bytewax.run", "tests.benchmarks.stock_bytewax"]),
    ):
        try:
            python = python_with(requirements, bench.say)
        except (BenchmarkError, ServerError) as error:
            bench.say(f"{name} is not measured: {error}")
            continue
        contenders.append(_Contender(name, _program(requirements, [python, *arguments])))
    return contenders


def _program(name: str, command: list[str]) -> Start:
    def start(settings: Settings) -> AbstractContextManager[Running]:
        topics = Topics.of(settings.namespace)
        return run(
            settings.home, name, command,
            KAFKA=settings.kafka, EVENTS=topics.events, ACCEPTED=topics.accepted,
            SESSIONS=topics.sessions, GROUP=f"{settings.namespace}.{name}",
            FOLDER=str(settings.home / settings.namespace),
        )  # fmt: skip

    return start


def _run(bench: Bench, contender: _Contender, data: _Data, *, is_ours: bool) -> _Outputs:
    with bench.namespace() as settings:
        return asyncio.run(_run_in(settings, contender, data, is_ours))


async def _run_in(
    settings: Settings, contender: _Contender, data: _Data, is_ours: bool
) -> _Outputs:
    topics = Topics.of(settings.namespace)
    before, measured = data.counts
    await write(settings, topics.events, data.before)
    with contender.start(settings) as running:
        await wait_for_records(settings, topics.accepted, before, _DONE_WITHIN_S, running)
        async with dam(settings, topics.events) as held:
            await write(settings, topics.events, data.measured)
            used_s = cpu_s(running.pid)
            opened_ms = time.time() * 1000
            await held.open()
            await wait_for_records(
                settings, topics.accepted, before + measured, _DONE_WITHIN_S, running
            )
            used_s = cpu_s(running.pid) - used_s
    accepted = await read_topic(settings, topics.accepted)
    sessions = await read_topic(settings, topics.sessions)
    times = [row.timestamp for rows in accepted.values() for row in rows]
    counted = [each for each in times if each >= opened_ms]
    if (len(times), len(counted)) != (before + measured, measured):
        raise BenchmarkError(
            f"{contender.name} accepted {len(counted):,} of {measured:,} events, "
            f"{len(times):,} of all {before + measured:,}"
        )
    if is_ours:
        await _check(settings, accepted, sessions)
    contender.rates.append(1000 * measured / (max(counted) - min(counted)))
    contender.cpu_s_per_million.append(1e6 * used_s / measured)
    return _Outputs(
        sorted(_decode_accepted(row.value) for rows in accepted.values() for row in rows),
        sorted(_decode_session(row.value) for rows in sessions.values() for row in rows),
    )


async def _check(settings: Settings, accepted: Any, sessions: Any) -> None:
    """Compare the sessionizer's outputs, byte by byte, with the pure step's."""
    log = await read_kafka_log(settings)
    assert log is not None
    events = await read_topic(settings, Topics.of(settings.namespace).events)
    expected = Expected(settings, log.id, events)
    for name, found in (("accepted", accepted), ("sessions", sessions)):
        for partition, records in found.items():
            if [record.value for record in records] != getattr(expected, name)[partition]:
                raise BenchmarkError(f"{name}, partition {partition}, is not what it must be")


def _compare(outputs: _Outputs, reference: _Outputs) -> None:
    for name in ("accepted", "sessions"):
        found, right = getattr(outputs, name), getattr(reference, name)
        if found != right:
            wrong = sum(a != b for a, b in zip(found, right, strict=False))
            raise BenchmarkError(
                f"{len(found):,} {name} where the sessionizer wrote {len(right):,}; {wrong:,} of "
                "those that stand in the same place differ"
            )


def _figures(ours: _Contender, other: _Contender, name: str, short: str) -> list[Figure]:
    ratios = [a / b for a, b in zip(ours.rates, other.rates, strict=True)]
    return [
        Figure(
            name,
            median(ratios),
            f"{other.name}, {median(other.rates):,.0f} events/s, against "
            f"{median(ours.rates):,.0f}, the same outputs; {spread(ratios, 2)}",
        ),
        Figure(
            f"{short}_events_per_s",
            median(other.rates),
            f"{other.name}, {median(other.cpu_s_per_million):.2f} CPU s a million against "
            f"{median(ours.cpu_s_per_million):.2f}; {spread(other.rates)}",
        ),
    ]
