"""Events into Kafka: one open batch per partition, sent when the one before it is acknowledged.

In: a user and the bytes of an event. Out: a future that says whether Kafka has the event. Never: a
timer that an event waits for, a compression (small batches do not gain by it), a look at a body.

Batches grow by themselves with the load: what comes while a batch is under way is the next one.
All requests in a batch share one future, and no task is made for an event.

Away or slow, Kafka costs nobody more than `ACKNOWLEDGED_WITHIN_S`. What was not handed to the
producer by then is dropped: it certainly is not logged. What was handed over is retried for ever
(an idempotent batch never expires), so its outcome is unknown, and its partition refuses at once
until it is through. So memory stays bounded, and clients that repeat while Kafka is away do not
pile up events that would all be delivered later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import astuple, dataclass, replace
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.topics import Partitioner
from runtime.failpoints import failpoint
from runtime.kafka.record_batches import RecordBatch
from runtime.kafka.refusals import explain_failure
from runtime.kafka.servers import KafkaServers
from runtime.startup import ServerAwayError

ACKNOWLEDGED_WITHIN_S = 4.5  # the contract says 5; the rest is for the way
MAX_BATCH_BYTES = 900_000  # under the broker's message.max.bytes, 1 MiB
MAX_WAITING_BYTES = 64 * 1024 * 1024
CONNECT_WITHIN_S = 10.0
RECONNECT_AFTER_S = 0.5
STOP_WITHIN_S = 3.0

FAILPOINTS = (
    "ingest.before_connect",
    "ingest.after_connect",
    "ingest.before_send",
    "ingest.after_send",
    "ingest.after_acknowledgement",
    "ingest.before_drain",
    "ingest.after_drain",
)
"""Where a test kills ingest; none is passed once an event, those of a batch once a batch."""

OnFailure = Callable[[BaseException], None]
Header = tuple[str, bytes]
NO_HEADERS: list[Header] = []  # a list is what aiokafka takes
_log = logging.getLogger(__name__)


class Publisher:
    """The way into one topic, and the producer behind it.

    Parameters: the bootstrap servers, the topic, what finds out how many partitions it has, and
    what is called when this process cannot go on.
    """

    def __init__(
        self,
        servers: KafkaServers,
        topic: str,
        count_partitions: Callable[[], Awaitable[int]],
        on_failure: OnFailure,
    ) -> None:
        self._servers = servers
        self._topic = topic
        self._count_partitions = count_partitions
        self._on_failure = on_failure
        self._producer: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._partitions: list[_Partition] = []
        self._partition_of: Callable[[str], int] | None = None
        self._refused: asyncio.Future[bool]
        self._turn = 0

    @property
    def is_ready(self) -> bool:
        """Whether Kafka has been reached and events are taken."""
        return self._partition_of is not None

    @property
    def traffic(self) -> Traffic:
        """What has gone through, and what is on its way."""
        return Traffic.sum(each.traffic for each in self._partitions)

    def start(self) -> None:
        """Begin to connect; it goes on in the background until Kafka answers."""
        self._refused = asyncio.get_running_loop().create_future()
        self._refused.set_result(False)
        self._connecting = asyncio.create_task(self._connect())
        self._connecting.add_done_callback(self._pass_on_failure)

    def put(
        self, user_id: str, value: bytes, headers: list[Header] = NO_HEADERS
    ) -> asyncio.Future[bool]:
        """Hand over an event and the headers of its record; the future says whether Kafka has it.

        False: Kafka is away or slow; the event may have been logged or not.
        """
        if self._partition_of is None:
            return self._refused
        return self._partitions[self._partition_of(user_id)].put(user_id.encode(), value, headers)

    def put_anywhere(self, value: bytes, headers: list[Header]) -> asyncio.Future[bool]:
        """Hand over a record that has no user, as `put` does an event.

        Partitions take turns.
        """
        if self._partition_of is None:
            return self._refused
        self._turn = (self._turn + 1) % len(self._partitions)
        return self._partitions[self._turn].put(None, value, headers)

    async def stop(self) -> None:
        """Take nothing more, send what waits, and close the producer, within a bounded time."""
        self._partition_of = None
        failpoint("ingest.before_drain")
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        drains = [each.draining for each in self._partitions if each.draining is not None]
        if drains:
            await asyncio.wait(drains, timeout=STOP_WITHIN_S)
        for drain in drains:
            drain.cancel()
        failpoint("ingest.after_drain")
        if self._producer is not None:
            await _stop(self._producer)

    async def _connect(self) -> None:
        while True:
            if await self._try_to_connect():
                return
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _try_to_connect(self) -> bool:
        producer = AIOKafkaProducer(
            **self._servers.client_arguments(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=MAX_BATCH_BYTES,
        )
        failpoint("ingest.before_connect")
        try:
            count = await self._count_partitions()
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await producer.start()
                await producer.partitions_for(self._topic)
        except (KafkaError, ServerAwayError, OSError, TimeoutError) as error:
            # What was checked at first says its reason itself.
            checked = isinstance(error, ServerAwayError)
            why = str(error) if checked else await explain_failure(self._servers, error)
            _log.warning("%s It is tried again.", why)
            await _stop(producer)
            return False
        except BaseException:
            await _stop(producer)
            raise
        failpoint("ingest.after_connect")
        self._open(producer, count)
        return True

    def _open(self, producer: Any, count: int) -> None:
        self._producer = producer
        waiting = max(1, MAX_WAITING_BYTES // (count * MAX_BATCH_BYTES) - 2)
        self._partitions = [
            _Partition(
                producer,
                TopicPartition(self._topic, number),
                most_full=waiting,
                refused=self._refused,
                fail=self._fail,
            )
            for number in range(count)
        ]
        self._partition_of = Partitioner(count).partition_of
        _log.info("Publishing to %s, %d partitions.", self._topic, count)

    def _pass_on_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._partition_of = None
        self._on_failure(error)


@dataclass(slots=True)
class Traffic:
    """Batches that Kafka has acknowledged, and bytes that wait for it; any thread may ask."""

    batches: int = 0
    events: int = 0
    bytes: int = 0
    waiting_bytes: int = 0
    under_way_bytes: int = 0
    stalled_partitions: int = 0

    @classmethod
    def sum(cls, parts: Iterable[Traffic]) -> Traffic:
        """Return the sum."""
        columns = zip(*map(astuple, parts), strict=True)
        return cls(*(sum(column) for column in columns))


class _Batch:
    """A batch and the one future of all requests in it."""

    __slots__ = ("acknowledged", "append", "builder", "deadline", "is_under_way", "records")

    def __init__(self, builder: RecordBatch, acknowledged: asyncio.Future[bool]) -> None:
        self.builder = builder
        self.append = builder.appender()
        self.records = 0
        self.acknowledged = acknowledged
        self.deadline: asyncio.TimerHandle | None = None
        self.is_under_way = False

    def settle(self, *, acknowledged: bool) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        # It is done already where the deadline was missed, or a server cancelled a request.
        if not self.acknowledged.done():
            self.acknowledged.set_result(acknowledged)


class _Partition:
    """The open batch of one partition, those that are full, and the task that sends them."""

    __slots__ = (
        "_fail",
        "_full",
        "_is_stalled",
        "_loop",
        "_most_full",
        "_open",
        "_place",
        "_producer",
        "_refused",
        "_sent",
        "_under_way_bytes",
        "draining",
    )

    def __init__(
        self,
        producer: Any,
        place: TopicPartition,
        *,
        most_full: int,
        refused: asyncio.Future[bool],
        fail: OnFailure,
    ) -> None:
        self._producer = producer
        self._place = place
        self._most_full = most_full
        self._refused = refused
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._open: _Batch | None = None
        self._full: deque[_Batch] = deque()
        self._is_stalled = False
        self._sent = Traffic()
        self._under_way_bytes = 0
        self.draining: asyncio.Task[None] | None = None

    @property
    def traffic(self) -> Traffic:
        waiting = [*list(self._full), self._open]
        return replace(
            self._sent,
            waiting_bytes=sum(_size_of(each) for each in waiting if each is not None),
            under_way_bytes=self._under_way_bytes,
            stalled_partitions=int(self._is_stalled),
        )

    def put(self, key: bytes | None, value: bytes, headers: list[Header]) -> asyncio.Future[bool]:
        batch = self._open
        if batch is None:
            if self._is_stalled:
                return self._refused
            batch = self._begin()
        if batch.append(batch.records, None, key, value, headers) is None:
            if len(self._full) >= self._most_full:
                return self._refused
            self._full.append(batch)
            batch = self._begin()
            batch.append(0, None, key, value, headers)
        batch.records += 1
        return batch.acknowledged

    def _begin(self) -> _Batch:
        batch = _Batch(RecordBatch(MAX_BATCH_BYTES), self._loop.create_future())
        batch.deadline = self._loop.call_later(ACKNOWLEDGED_WITHIN_S, self._give_up, batch)
        self._open = batch
        if self.draining is None:
            self.draining = self._loop.create_task(self._drain())
            self.draining.add_done_callback(self._end_drain)
        return batch

    def _give_up(self, batch: _Batch) -> None:
        batch.settle(acknowledged=False)
        if batch.is_under_way:
            self._is_stalled = True
        elif batch is self._open:
            self._open = None
        else:
            self._full.remove(batch)

    async def _drain(self) -> None:
        topic, partition = self._place
        await asyncio.sleep(0)  # the other requests of this turn of the loop belong into the batch
        while (batch := self._take()) is not None:
            batch.is_under_way = True
            batch.builder.end(batch.records)
            size = self._under_way_bytes = batch.builder.size()
            failpoint("ingest.before_send")
            sent = await self._producer.send_batch(batch.builder, topic, partition=partition)
            failpoint("ingest.after_send")
            await sent
            failpoint("ingest.after_acknowledgement")
            self._is_stalled = False
            batch.settle(acknowledged=True)
            self._note_sent(batch.records, size)
        self.draining = None

    def _note_sent(self, events: int, size: int) -> None:
        self._under_way_bytes = 0
        self._sent.batches += 1
        self._sent.events += events
        self._sent.bytes += size

    def _take(self) -> _Batch | None:
        if self._full:
            return self._full.popleft()
        batch, self._open = self._open, None
        return batch

    def _end_drain(self, task: asyncio.Task[None]) -> None:
        """Pass on a failure: sequence numbers are used up, and the producer cannot go on."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._is_stalled = True
            self._fail(error)


def _size_of(batch: _Batch) -> int:
    """Return the bytes of a batch that waits, asked by another thread."""
    try:
        return int(batch.builder.size())
    except AttributeError:  # it is being sent at this very moment
        return 0


async def _stop(producer: Any) -> None:
    """Close a producer; a broker that is away must not hold up the end."""
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        _log.warning("The producer did not end in order (%s).", type(error).__name__)
