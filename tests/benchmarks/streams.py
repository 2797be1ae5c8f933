"""`sessionizer_vs_kafka_streams_eos`, `sessionizer_vs_quix`, `sessionizer_vs_bytewax`.

The sessionizer, one worker, and others that make the same accepted events and sessions of the same
events: Kafka Streams exactly once, Quix Streams and Bytewax by their defaults (at least once, which
asks less of them). Each runs alone in a namespace of its own, in turn. It first processes other
events of the same users, so that what Java has to compile is compiled; then the measured ones are
written behind a dam, and the dam is opened. The rate is the measured events by the seconds from the
first to the last CreateTime in `<namespace>.accepted`, which each of them takes from the clock when
it makes the row (Bytewax: when it writes it). What the sessionizer wrote is compared byte by byte
with the pure step's outputs, and what the others wrote, field by field, with what the sessionizer
wrote; a difference makes no figure.

A figure is the median of the rounds' ratios. `…_kafka_streams_eos` is against the better of one and
two threads of an application that does not look for duplicates; `…_same_rules` against one that
does, as the contract asks, with a store of ids that has its changelog as every store there.
`sessionizer_two_…` are of two workers: as many as the other has threads. `…_just_started` is of
processes that begin with the measured events: what a backlog after a restart meets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
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
from tests.processors.sessionizer.running import Expected, read_topic
from tests.virtual_environments import python_with

_REQUIREMENTS = Path(__file__).parent / "requirements"
_DONE_WITHIN_S = 180.0

Start = Callable[[Settings], AbstractContextManager[Sequence[Running]]]


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


@dataclass(slots=True, eq=False)
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
    """Measure the sessionizer and the others in turn, then some of them just started."""
    data = _make_data(bench)
    one, two = _sessionizer(1), _sessionizer(2)
    application = KafkaStreams(bench.folder, bench.say)
    lean = [_kafka_streams(application, threads) for threads in (2, 1)]
    same = _kafka_streams(application, 2, same_rules=True)
    python = _python_contenders(bench)
    given_up = _measure_rounds(bench, data, one, [*lean, same, two], list(python.values()))
    python = {name: each for name, each in python.items() if each not in given_up}
    best = max(lean, key=lambda each: median(each.rates))
    cold, cold_streams = _sessionizer(1), _kafka_streams(application, 2)
    bench.say("the same by processes that have just started")
    _measure_rounds(bench, _Data([[]] * PARTITIONS, data.measured), cold, [cold_streams], [])
    return [
        _ratio("sessionizer_vs_kafka_streams_eos", one, best),
        _ratio("sessionizer_vs_kafka_streams_same_rules", one, same),
        _ratio("sessionizer_two_vs_kafka_streams_eos", two, best),
        _ratio("sessionizer_two_vs_kafka_streams_same_rules", two, same),
        _ratio("sessionizer_vs_kafka_streams_just_started", cold, cold_streams),
        *(_ratio(f"sessionizer_vs_{name}", one, each) for name, each in python.items()),
        _rate("kafka_streams_eos_events_per_s", best),
        _rate("kafka_streams_same_rules_events_per_s", same),
        *(_rate(f"{name}_events_per_s", each) for name, each in python.items()),
    ]


def _measure_rounds(
    bench: Bench,
    data: _Data,
    ours: _Contender,
    needed: Sequence[_Contender],
    others: Sequence[_Contender],
) -> list[_Contender]:
    """Let all run in turn, round by round; return those of the others that give no figure.

    Raises:
        BenchmarkError: one that is needed did not write what it must.
    """
    reference: _Outputs | None = None
    given_up: list[_Contender] = []
    for number in range(1, bench.sizes.runs + 1):
        for each in (ours, *needed, *others):
            if each in given_up:
                continue
            try:
                outputs = _run(bench, each, data, check=each is ours)
                if reference is not None:
                    _compare(outputs, reference)
            except (BenchmarkError, TimeoutError) as error:
                if each not in others:
                    raise
                bench.say(f"{each.name} gives no figure: {error!r}")
                given_up.append(each)
                continue
            reference = reference or outputs
            bench.say(
                f"{each.name}, round {number}: {each.rates[-1]:,.0f} events/s, "
                f"{each.cpu_s_per_million[-1]:.2f} CPU s a million"
            )
    return given_up


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


def _sessionizer(workers: int) -> _Contender:
    name = f"the sessionizer, {workers} worker{'s' * (workers > 1)}"
    return _Contender(name, lambda settings: _workers(settings, workers))


def _kafka_streams(
    application: KafkaStreams, threads: int, *, same_rules: bool = False
) -> _Contender:
    @contextmanager
    def start(settings: Settings) -> Iterator[Sequence[Running]]:
        window = settings.duplicate_window if same_rules else 0
        with application.run(settings, threads, window) as running:
            yield [running]

    kept = "dropped" if same_rules else "kept"
    return _Contender(f"Kafka Streams, threads: {threads}, duplicates {kept}", start)


def _python_contenders(bench: Bench) -> dict[str, _Contender]:
    """Return those of Python whose packages can be installed; say of the others why not."""
    contenders = {}
    for name, what, arguments in (
        ("quix", "Quix Streams", ["-m", "tests.benchmarks.stock_quix"]),
        ("bytewax", "Bytewax", ["-m", "bytewax.run", "tests.benchmarks.stock_bytewax"]),
    ):
        try:
            python = python_with(_REQUIREMENTS / f"{name}.txt", "", bench.say)
        except ServerError as error:
            bench.say(f"{what} is not measured: {error}")
            continue
        contenders[name] = _Contender(what, _program(name, [python, *arguments]))
    return contenders


def _program(name: str, command: list[str]) -> Start:
    @contextmanager
    def start(settings: Settings) -> Iterator[Sequence[Running]]:
        topics = Topics.of(settings.namespace)
        with run(
            settings.home, name, command,
            KAFKA=settings.kafka, EVENTS=topics.events, ACCEPTED=topics.accepted,
            SESSIONS=topics.sessions, GROUP=f"{settings.namespace}.{name}",
            FOLDER=str(settings.home / settings.namespace),
        ) as running:  # fmt: skip
            yield [running]

    return start


@contextmanager
def _workers(settings: Settings, count: int) -> Iterator[Sequence[Running]]:
    with ExitStack() as running:
        yield [running.enter_context(track(settings, "sessionizer")) for _ in range(count)]


def _cpu(running: Sequence[Running]) -> float:
    return sum(cpu_s(each.pid) for each in running)


def _run(bench: Bench, contender: _Contender, data: _Data, *, check: bool) -> _Outputs:
    with bench.namespace() as settings:
        return asyncio.run(_run_in(settings, contender, data, check))


async def _run_in(settings: Settings, contender: _Contender, data: _Data, check: bool) -> _Outputs:
    topics = Topics.of(settings.namespace)
    before, measured = data.counts
    await write(settings, topics.events, data.before)
    with contender.start(settings) as running:
        await wait_for_records(settings, topics.accepted, before, _DONE_WITHIN_S, *running)
        async with dam(settings, topics.events) as held:
            await write(settings, topics.events, data.measured)
            used_s = _cpu(running)
            opened_ms = time.time() * 1000
            await held.open()
            await wait_for_records(
                settings, topics.accepted, before + measured, _DONE_WITHIN_S, *running
            )
            used_s = _cpu(running) - used_s
    accepted = await read_topic(settings, topics.accepted)
    sessions = await read_topic(settings, topics.sessions)
    times = [row.timestamp for rows in accepted.values() for row in rows]
    counted = [each for each in times if each >= opened_ms]
    if (len(times), len(counted)) != (before + measured, measured):
        raise BenchmarkError(
            f"{contender.name} accepted {len(counted):,} of {measured:,} events, "
            f"{len(times):,} of all {before + measured:,}"
        )
    if check:
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


def _ratio(name: str, ours: _Contender, other: _Contender) -> Figure:
    ratios = [a / b for a, b in zip(ours.rates, other.rates, strict=True)]
    return Figure(
        name,
        median(ratios),
        f"{ours.name}, {median(ours.rates):,.0f} events/s; {other.name}, "
        f"{median(other.rates):,.0f}; the same outputs; {spread(ratios, 2)}",
    )


def _rate(name: str, contender: _Contender) -> Figure:
    return Figure(
        name,
        median(contender.rates),
        f"{contender.name}, {median(contender.cpu_s_per_million):.2f} CPU s a million; "
        f"{spread(contender.rates)}",
    )
