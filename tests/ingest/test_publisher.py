"""The way into Kafka over a producer in memory: which batch holds what, what a failure costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber

import ingest.publisher as module
from contracts.topics import Partitioner
from ingest.publisher import Publisher, Traffic
from runtime.kafka.record_batches import Append, Headers
from runtime.kafka.servers import KafkaServers
from runtime.startup import ServerAwayError, StartupError

pytestmark = pytest.mark.anyio
PARTITIONS = 2
DEADLINE_S = 0.3


@dataclass(slots=True)
class MemoryBatch:
    """A batch that holds `room` records."""

    room: int
    values: list[bytes] = field(default_factory=list)

    def appender(self) -> Append:
        def append(
            offset: int, timestamp: None, key: bytes | None, value: bytes | None, headers: Headers
        ) -> object:
            assert offset == len(self.values)
            assert value is not None
            if offset >= self.room:
                return None
            self.values.append(value)
            return object()

        return append

    def end(self, records: int) -> None:
        assert records == len(self.values)

    def size(self) -> int:
        return sum(map(len, self.values))


class MemoryProducer:
    """A producer whose acknowledgements the test gives."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[bytes], asyncio.Future[None]]] = []
        self.room = 1000
        self.failures = 0
        self.starts = 0
        self.stops = 0

    async def start(self) -> None:
        self.starts += 1
        if self.starts <= self.failures:
            raise KafkaConnectionError("away")

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(PARTITIONS))

    async def stop(self) -> None:
        self.stops += 1

    async def send_batch(
        self, batch: MemoryBatch, topic: str, *, partition: int
    ) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent.append((partition, batch.values, future))
        return future

    def acknowledge(self, number: int) -> None:
        self.sent[number][2].set_result(None)


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> MemoryProducer:
    producer = MemoryProducer()
    monkeypatch.setattr(module, "AIOKafkaProducer", lambda **_: producer)
    monkeypatch.setattr(module, "RecordBatch", lambda _: MemoryBatch(producer.room))
    monkeypatch.setattr(module, "ACKNOWLEDGED_WITHIN_S", DEADLINE_S)
    monkeypatch.setattr(module, "RECONNECT_AFTER_S", 0.01)
    monkeypatch.setattr(module, "STOP_WITHIN_S", 0.2)
    return producer


async def count_partitions() -> int:
    return PARTITIONS


@asynccontextmanager
async def running(failures: list[BaseException] | None = None) -> AsyncIterator[Publisher]:
    seen: list[BaseException] = [] if failures is None else failures
    publisher = Publisher(KafkaServers("nowhere:1"), "t.events", count_partitions, seen.append)
    publisher.start()
    await until(lambda: publisher.is_ready)
    try:
        yield publisher
    finally:
        await publisher.stop()
        assert failures is not None or not seen


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  # what is watched has no event
            await asyncio.sleep(0.001)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_in_one_turn_is_one_batch(producer: MemoryProducer) -> None:
    async with running() as publisher:
        futures = {publisher.put("u", b"%d" % number) for number in range(3)}
        assert len(futures) == 1
        await turn()
        partition = Partitioner(PARTITIONS).partition_of("u")
        assert [sent[:2] for sent in producer.sent] == [(partition, [b"0", b"1", b"2"])]
        (future,) = futures
        assert not future.done()
        producer.acknowledge(0)
        assert await future is True


async def test_what_comes_while_a_batch_is_under_way_is_the_next(producer: MemoryProducer) -> None:
    async with running() as publisher:
        first = publisher.put("u", b"1")
        await turn()
        second, third = publisher.put("u", b"2"), publisher.put("u", b"3")
        await turn()
        assert len(producer.sent) == 1
        producer.acknowledge(0)
        assert await first is True
        await turn()
        assert producer.sent[1][1] == [b"2", b"3"]
        assert not second.done()
        producer.acknowledge(1)
        assert await third is True


async def test_full_batches_are_sent_in_order(producer: MemoryProducer) -> None:
    producer.room = 2
    async with running() as publisher:
        futures = [publisher.put("u", b"%d" % number) for number in range(5)]
        for number in range(3):
            await turn()
            producer.acknowledge(number)
        assert all([await future for future in futures])
        assert [values for _, values, _ in producer.sent] == [[b"0", b"1"], [b"2", b"3"], [b"4"]]


async def test_traffic_is_counted_by_batch(producer: MemoryProducer) -> None:
    producer.room = 3
    async with running() as publisher:
        user = "u"
        waiting = [publisher.put(user, b"12345") for _ in range(3)]
        await until(lambda: len(producer.sent) == 1)
        waiting += [publisher.put(user, b"123") for _ in range(4)]
        traffic = publisher.traffic
        assert (traffic.batches, traffic.events, traffic.bytes) == (0, 0, 0)
        assert (traffic.under_way_bytes, traffic.waiting_bytes) == (15, 12)
        for number in range(3):
            await until(lambda sent=number: len(producer.sent) > sent)  # type: ignore[misc]
            producer.acknowledge(number)
        assert await asyncio.gather(*waiting) == [True] * 7
        await until(lambda: publisher.traffic.batches == 3)
        assert publisher.traffic == Traffic(batches=3, events=7, bytes=27)


async def test_partitions_do_not_wait_for_each_other(producer: MemoryProducer) -> None:
    users = {
        Partitioner(PARTITIONS).partition_of(f"u{number}"): f"u{number}" for number in range(9)
    }
    async with running() as publisher:
        futures = {number: publisher.put(user, b"x") for number, user in users.items()}
        await turn()
        assert {sent[0] for sent in producer.sent} == set(range(PARTITIONS))
        producer.acknowledge(1)
        assert await futures[producer.sent[1][0]] is True
        assert not futures[producer.sent[0][0]].done()
        producer.acknowledge(0)


async def test_the_deadline_answers_and_only_what_is_under_way_may_still_arrive(
    producer: MemoryProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACKNOWLEDGED_WITHIN_S", 1.0)
    async with running() as publisher:
        begun = asyncio.get_running_loop().time()
        under_way = publisher.put("u", b"1")
        await turn()
        waiting = publisher.put("u", b"2")
        assert await under_way is False
        assert await waiting is False
        assert asyncio.get_running_loop().time() - begun < 2.0  # both by one deadline

        refused = publisher.put("u", b"3")
        assert refused.done()
        assert refused.result() is False

        producer.acknowledge(0)
        await turn()
        taken = publisher.put("u", b"4")
        await turn()
        producer.acknowledge(1)
        assert await taken is True
        assert [values for _, values, _ in producer.sent] == [[b"1"], [b"4"]]


async def test_bytes_that_wait_are_bounded(
    producer: MemoryProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", module.MAX_BATCH_BYTES * PARTITIONS * 5)
    producer.room = 1
    async with running() as publisher:
        first = publisher.put("u", b"0")
        await turn()  # it is under way; three full ones and an open one may wait
        futures = [publisher.put("u", b"x") for _ in range(10)]
        assert [future.done() for future in futures] == [False] * 4 + [True] * 6
        assert not any(future.result() for future in futures[4:])
        assert await first is False
        await asyncio.sleep(DEADLINE_S)
        assert all(future.done() for future in futures)
        producer.acknowledge(0)
        await turn()
        assert len(producer.sent) == 1


async def test_a_request_that_is_cancelled_breaks_nothing(producer: MemoryProducer) -> None:
    async with running() as publisher:
        publisher.put("u", b"1").cancel()
        await turn()
        producer.acknowledge(0)
        await turn()
        later = publisher.put("u", b"2")
        await turn()
        producer.acknowledge(1)
        assert await later is True


async def test_a_batch_that_fails_ends_the_process(producer: MemoryProducer) -> None:
    failures: list[BaseException] = []
    async with running(failures) as publisher:
        future = publisher.put("u", b"1")
        await turn()
        producer.sent[0][2].set_exception(OutOfOrderSequenceNumber())
        await turn()
        assert [type(each) for each in failures] == [OutOfOrderSequenceNumber]
        assert not publisher.is_ready
        assert publisher.put("u", b"2").result() is False
        assert await future is False


async def test_it_connects_in_the_background(producer: MemoryProducer) -> None:
    producer.failures = 3
    publisher = Publisher(KafkaServers("nowhere:1"), "t.events", count_partitions, lambda _: None)
    publisher.start()
    assert publisher.put("u", b"1").result() is False
    await until(lambda: publisher.is_ready)
    assert (producer.starts, producer.stops) == (4, 3)
    await publisher.stop()
    assert producer.stops == 4
    assert publisher.put("u", b"1").result() is False


async def test_it_waits_for_a_server_but_not_for_another_log(producer: MemoryProducer) -> None:
    answers: list[Exception] = [ServerAwayError("away"), StartupError("The log is another one.")]
    failures: list[BaseException] = []

    async def count() -> int:
        raise answers.pop(0)

    publisher = Publisher(KafkaServers("nowhere:1"), "t.events", count, failures.append)
    publisher.start()
    await until(lambda: bool(failures))
    assert [str(each) for each in failures] == ["The log is another one."]
    assert producer.starts == 0
    await publisher.stop()


async def test_a_stop_sends_what_waits(
    producer: MemoryProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_WITHIN_S", 20.0)
    async with running() as publisher:
        future = publisher.put("u", b"1")
        await turn()
        asyncio.get_running_loop().call_later(0.05, producer.acknowledge, 0)
        await publisher.stop()
        assert future.result() is True


async def test_a_stop_does_not_wait_for_ever(producer: MemoryProducer) -> None:
    async with running() as publisher:
        publisher.put("u", b"1")
        await turn()
        async with asyncio.timeout(2):
            await publisher.stop()
