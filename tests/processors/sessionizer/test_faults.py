"""Killed at each named point, fenced, cut off: the topics hold what the pure step has."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from cli.migrate import run_migrations
from contracts.events import Rejected
from contracts.groups import sessionizer_group
from contracts.records import parse_record
from contracts.topics import Partitioner, Topics
from processors.sessionizer.position import user_of
from processors.sessionizer.restore import STALL_POINT as RESTORE_STALLS
from processors.sessionizer.transactions import (
    FAILPOINTS,
    close,
    transactional_producer,
)
from runtime.cancelling import cancel
from runtime.failpoints import FAILPOINT
from runtime.kafka.admin import open_admin
from runtime.settings import Settings
from runtime.startup import require_log
from tests.groups import delete_group
from tests.processors.sessionizer.running import (
    Expected,
    Sessionizer,
    position_of,
    read_topic,
    sessionizer,
    wait_until_processed,
)

KILLED = -signal.SIGKILL


def some_day(seed: int, events: int) -> Iterator[tuple[bytes | None, bytes | None, Any]]:
    """Give keys, values and headers: plays, stops, repeated ids, nonsense, CloudEvents."""
    chosen = random.Random(seed)
    for number in range(events):
        user = f"user-{chosen.randrange(40)}"
        name = chosen.choice(["play", "play", "stop", "stop", "pause"])
        sent: dict[str, object] = {"event": name, "user_id": user, "metadata": {"n": number}}
        if chosen.random() < 0.7:
            sent["event_id"] = f"id-{chosen.randrange(events)}"
        if chosen.random() < 0.02:
            yield b"?", chosen.choice([b"nonsense", None, b"\xff", b"[]", b"{}"]), []
        elif chosen.random() < 0.05:
            headers = {"specversion": "1.0", "type": name, "source": "s", "id": str(number)}
            named = [(f"ce_{key}", text.encode()) for key, text in headers.items()]
            yield user.encode(), b"{}", [*named, ("ce_subject", user.encode())]
        else:
            yield user.encode(), json.dumps(sent).encode(), [("source", b"test")]


async def produce(settings: Settings, seed: int, events: int, *, aborted: int = 0) -> None:
    """Write a day, a tenth of it into any partition, and some of it in aborted transactions."""
    topic, chosen = Topics.of(settings.namespace).events, random.Random(seed)
    partitioner = Partitioner(settings.partitions)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, enable_idempotence=True)
    outsider = AIOKafkaProducer(
        bootstrap_servers=settings.kafka, transactional_id=f"{settings.namespace}-outsider"
    )
    async with producer, outsider:
        for key, value, headers in some_day(seed, events):
            home = partitioner.partition_of((key or b"").decode())
            number = chosen.randrange(settings.partitions) if chosen.random() < 0.1 else home
            await producer.send(topic, value, key, partition=number, headers=headers)
        for number in range(aborted):
            await outsider.begin_transaction()
            await outsider.send_and_wait(
                topic, b'{"event":"aborted","user_id":"u"}', partition=number % settings.partitions
            )
            await outsider.abort_transaction()
        await producer.flush()


async def assert_exactly_once(settings: Settings) -> Expected:
    """Compare every topic with what the pure step has for the log."""
    log, topics = await require_log(settings), Topics.of(settings.namespace)
    expected = Expected(settings, log.id, await read_topic(settings, topics.events))
    for topic, wanted in (
        (topics.accepted, expected.accepted),
        (topics.sessions, expected.sessions),
        (topics.rejected, expected.rejected),
    ):
        for number, rows in (await read_topic(settings, topic)).items():
            assert [row.value for row in rows] == wanted[number], f"{topic}, partition {number}"
    for number, rows in (await read_topic(settings, topics.state)).items():
        latest = {user_of(row.key): row.value for row in rows if user_of(row.key) is not None}
        kept = {user: value for user, value in latest.items() if value is not None}
        assert kept == expected.users[number]
    return expected


@pytest.mark.long
def test_killed_at_every_named_point(settings: Settings, tmp_path: Path) -> None:
    """All points side by side, each with a log of its own: killed, started again, compared."""
    pipelines = {
        point: _renamed(settings, f"{settings.namespace}_{number}")
        for number, point in enumerate(FAILPOINTS)
    }

    async def prepare(each: Settings) -> None:
        await run_migrations(each)
        await produce(each, seed=1, events=400)

    for each in pipelines.values():
        asyncio.run(prepare(each))
    dying = {
        point: Sessionizer(each, tmp_path / point, **{FAILPOINT: f"{point}:3"})
        for point, each in pipelines.items()
    }
    for point, process in dying.items():
        assert process.wait(90) == KILLED, f"{point}: {process.words()}"
    heirs = [Sessionizer(each, tmp_path / f"{point}-heir") for point, each in pipelines.items()]
    try:
        for point, each in pipelines.items():
            asyncio.run(produce(each, seed=2, events=300))
            asyncio.run(wait_until_processed(each))
            expected = asyncio.run(assert_exactly_once(each))
            assert sum(counts.sessions for counts in expected.counts) > 50, point
    finally:
        for heir in heirs:
            heir.stop()


def test_outsiders_aborts_strangers_and_nonsense(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(run_migrations(settings))
    asyncio.run(produce(settings, seed=3, events=1000, aborted=8))
    with sessionizer(settings, tmp_path / "output"):
        asyncio.run(wait_until_processed(settings))
    expected = asyncio.run(assert_exactly_once(settings))
    total = {
        name: sum(getattr(counts, name) for counts in expected.counts)
        for name in ("accepted", "rejected", "duplicates", "readdressed", "read")
    }
    assert min(total.values()) > 5, f"each way was gone: {total}"
    assert total["read"] == 1000 + total["readdressed"]
    assert total["read"] == sum(total.values()) - total["read"]
    assert asyncio.run(find_ways(settings)) == {
        name: count for name, count in total.items() if name != "read"
    }


async def find_ways(settings: Settings) -> dict[str, int]:
    """Count by the topics alone which of four ways each record of the log has gone.

    Whoever reads the topics can do this sum: a record is named by a row of `accepted` or
    `rejected`, or it repeats an earlier one, or it lies in a foreign partition.
    """
    topics, ways = Topics.of(settings.namespace), Counter[str]()
    rows = {
        name: await _offsets(settings, topic)
        for name, topic in (("accepted", topics.accepted), ("rejected", topics.rejected))
    }
    partitioner = Partitioner(settings.partitions)
    for number, records in (await read_topic(settings, topics.events)).items():
        seen = set()
        for record in records:
            named = [name for name, offsets in rows.items() if (number, record.offset) in offsets]
            event = parse_record(record.value, record.headers)
            if isinstance(event, Rejected):
                assert named == ["rejected"]
            elif partitioner.partition_of(event.user_id) != number:
                assert named == []
                named = ["readdressed"]
            elif event.event_id is not None and (event.user_id, event.event_id) in seen:
                assert named == []
                named = ["duplicates"]
            else:
                assert named == ["accepted"]
                seen.add((event.user_id, event.event_id))
            ways.update(named)
    assert ways["accepted"] == len(rows["accepted"])
    assert ways["rejected"] == len(rows["rejected"])
    return dict(ways)


async def _offsets(settings: Settings, topic: str) -> set[tuple[int, int]]:
    """Return which records of the log a topic's rows name, each once."""
    found = [
        (number, json.loads(row.value)["log_offset"])
        for number, rows in (await read_topic(settings, topic)).items()
        for row in rows
    ]
    assert len(set(found)) == len(found)
    return set(found)


def test_a_paused_worker_is_fenced_and_its_heir_goes_on(settings: Settings, tmp_path: Path) -> None:
    """Stopped for longer than the session time-out, then resumed: it ends and writes nothing."""
    asyncio.run(run_migrations(settings))
    asyncio.run(produce(settings, seed=4, events=500))
    paused = Sessionizer(settings, tmp_path / "paused")
    try:
        asyncio.run(wait_until_processed(settings))
        paused.process.send_signal(signal.SIGSTOP)
        asyncio.run(produce(settings, seed=5, events=500))
        with sessionizer(settings, tmp_path / "heir"):
            asyncio.run(wait_until_processed(settings))
            paused.process.send_signal(signal.SIGCONT)
            asyncio.run(produce(settings, seed=6, events=500))
            asyncio.run(wait_until_processed(settings))
            asyncio.run(assert_exactly_once(settings))
    finally:
        paused.process.send_signal(signal.SIGCONT)
        paused.stop()


def test_workers_joining_and_leaving(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(run_migrations(settings))
    first = Sessionizer(settings, tmp_path / "first")
    others: list[Sessionizer] = []

    def supervise() -> None:
        """Start it again where it has ended itself, as the supervisor does."""
        if others[-1].process.poll() == 70:
            others.append(Sessionizer(settings, tmp_path / "second"))

    def both_have_joined() -> bool:
        supervise()
        return all("Assigned partitions" in each.words() for each in (first, others[-1]))

    try:
        asyncio.run(produce(settings, seed=7, events=600))
        others.append(Sessionizer(settings, tmp_path / "second"))
        asyncio.run(produce(settings, seed=8, events=600))
        _wait_for(both_have_joined, 90)
        first.stop()
        asyncio.run(produce(settings, seed=9, events=600))
        asyncio.run(wait_until_processed(settings, supervise))
        asyncio.run(assert_exactly_once(settings))
        assert "Assigned partitions: [0, 1, 2, 3]" in others[-1].words()
    finally:
        first.stop()
        for each in others:
            each.stop()


# Another process has to start while the restore of this one stands still.
_PATIENT_SESSIONIZER = """
from processors.sessionizer import restore
restore.STEP_WITHIN_S = 200.0
from cli.main import track
track(["sessionizer"])
"""


def test_another_joins_while_a_restore_gets_no_further(settings: Settings, tmp_path: Path) -> None:
    """The slow one lets go at once: the group does not wait for what it was restoring."""
    asyncio.run(run_migrations(settings))
    asyncio.run(produce(settings, seed=12, events=400))
    stalling = {FAILPOINT: f"{RESTORE_STALLS}:1:stall"}
    slow = Sessionizer(
        settings, tmp_path / "slow", (sys.executable, "-c", _PATIENT_SESSIONIZER), **stalling
    )
    others: list[Sessionizer] = []
    try:
        _wait_for(lambda: "Assigned partitions" in slow.words(), 90)
        others.append(Sessionizer(settings, tmp_path / "other"))
        _wait_for(lambda: "goes on at offset" in others[0].words(), 90)
        _wait_for(lambda: slow.words().count("Assigned partitions") >= 2, 20)
        assert slow.process.poll() is None, slow.words()
        slow.stop()
        others.append(Sessionizer(settings, tmp_path / "again"))
        asyncio.run(produce(settings, seed=13, events=400))
        asyncio.run(wait_until_processed(settings))
        asyncio.run(assert_exactly_once(settings))
    finally:
        slow.stop()
        for each in others:
            each.stop()


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("position", "word"),
    [
        (None, "no position"),
        (b'{"next":5000,"offset":4999,"received_at":1}', "beyond the log's end"),
        (b'{"next":1,"offset":0,"received_at":1}', "is not the one that was processed"),
    ],
)
def test_a_position_that_does_not_fit_is_refused(
    settings: Settings, tmp_path: Path, position: bytes | None, word: str
) -> None:
    asyncio.run(run_migrations(settings))
    asyncio.run(produce(settings, seed=10, events=50))

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
            for number in range(settings.partitions):
                await producer.send_and_wait(
                    Topics.of(settings.namespace).state, position, b"p", partition=number
                )

    asyncio.run(write())
    process = Sessionizer(settings, tmp_path / "output")
    try:
        assert process.wait() == 70
        assert word in process.words()
        assert "track position" in process.words()
    finally:
        process.stop()


def test_the_position_and_the_hint_stand_at_the_end(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(run_migrations(settings))
    asyncio.run(produce(settings, seed=11, events=100))
    with sessionizer(settings, tmp_path / "output") as running:
        asyncio.run(wait_until_processed(settings))
        _wait_for_hints(settings, running)


def _wait_for_hints(settings: Settings, running: Sessionizer) -> None:
    """Wait until the group's offsets are where the positions are."""
    states = asyncio.run(read_topic(settings, Topics.of(settings.namespace).state))
    ends = {number: position_of(rows).next for number, rows in states.items()}
    deadline = time.monotonic() + 30
    while (hints := asyncio.run(_hints(settings))) != ends:
        assert time.monotonic() < deadline, f"{hints}, not {ends}: {running.words()}"
        time.sleep(0.2)


def test_a_hint_that_is_owed_is_given_without_a_record(settings: Settings, tmp_path: Path) -> None:
    """Whoever was killed may have owed one: a monitor would show a lag that is none."""
    asyncio.run(run_migrations(settings))
    asyncio.run(produce(settings, seed=12, events=100))
    with sessionizer(settings, tmp_path / "output"):
        asyncio.run(wait_until_processed(settings))
    delete_group(settings.kafka, sessionizer_group(settings.namespace))
    with sessionizer(settings, tmp_path / "idle") as idle:
        _wait_for_hints(settings, idle)


def test_a_producer_that_was_fenced_within_its_commit_is_closed(settings: Settings) -> None:
    asyncio.run(run_migrations(settings))
    topics, group = Topics.of(settings.namespace), sessionizer_group(settings.namespace)

    async def fence() -> None:
        former = transactional_producer(settings.kafka_servers, group, 0)
        await former.start()
        await former.begin_transaction()
        await former.send_and_wait(topics.state, b"{}", b"u:nobody", partition=0)
        successor = transactional_producer(settings.kafka_servers, group, 0)
        await successor.start()
        committing = asyncio.create_task(former.commit_transaction())
        await asyncio.sleep(0)  # it is asked for, and not done
        await cancel(committing)
        await close(former)
        assert not any(each.connected() for each in former.client._conns.values())
        await close(successor)

    asyncio.run(fence())
    # aiokafka's futures say in their end that nobody asked them; not in the middle of a parser's
    # work, which Python 3.11 takes for a fault of its own.
    gc.collect()


async def _hints(settings: Settings) -> dict[int, int]:
    """Return the sessionizer's committed offsets, which monitors of lag go by."""
    async with open_admin(settings.kafka_servers) as admin:
        offsets = await admin.list_consumer_group_offsets(sessionizer_group(settings.namespace))
    return {source.partition: each.offset for source, each in offsets.items()}


def _renamed(settings: Settings, namespace: str) -> Settings:
    return dataclasses.replace(settings, namespace=namespace)
