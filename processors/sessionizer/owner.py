"""The owner of one partition: takes its micro-batches in order and commits them.

In: micro-batches, each with the offset that it follows on. Out: committed transactions. Never: a
gap, a batch of an old assignment, a transaction after another owner took over (it is fenced).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from aiokafka import AIOKafkaProducer, TopicPartition

from contracts.topics import Topics
from processors.sessionizer.measures import Transactions
from processors.sessionizer.partition import Partition, Pipeline, Record
from processors.sessionizer.position import Position
from processors.sessionizer.restore import STEP_WITHIN_S, PositionError, restore
from processors.sessionizer.transactions import Outputs, close, transactional_producer
from runtime.cancelling import cancel
from runtime.failpoints import failpoint
from runtime.kafka.servers import KafkaServers

log = logging.getLogger(__name__)

MAX_RECORDS = 20_000  # in a transaction
QUEUE_LIMIT_BYTES = 4 * 1024 * 1024  # of values; beyond it the partition is held back
_YIELD_EVERY = 500
_SWEEP = 50  # idle users looked at in a transaction
_HINT_EVERY_S = 1.0

# A small transaction costs as much as a large one, so the next waits a few times as long as the
# last one took: longer when the machine is loaded, and never when a full one is ready.
_PAUSE_FACTOR = 3.0
_MAX_PAUSE_S = 0.15
_READY_RECORDS = 2_000


FAILPOINTS = (
    "sessionizer.before_fence",
    "sessionizer.after_fence",
    "sessionizer.after_restore",
    "sessionizer.before_give_up",
    "sessionizer.after_give_up",
)
"""Where a test kills the sessionizer at the beginning and the end of an assignment."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The records of one fetch of one partition, and the last offset handed out before them."""

    records: Sequence[Record]
    before: int


@dataclass(frozen=True, slots=True)
class Work:
    """What every owner in a process has in common.

    `hold` and `release` tell the consumer to fetch no more, or more again, of a partition; `fail`
    ends the process and does not return.
    """

    servers: KafkaServers
    group: str
    topics: Topics
    pipeline: Pipeline
    hold: Callable[[int], None]
    release: Callable[[int], None]
    fail: Callable[[str], NoReturn]
    transactions: Transactions = field(default_factory=Transactions)


class Owner:
    """Owns a partition from its assignment to its revocation."""

    def __init__(self, number: int, work: Work) -> None:
        self.number = number
        self.partition = Partition(number, work.pipeline)
        self._work = work
        self._producer: AIOKafkaProducer | None = None
        self._position = Position(next=0)
        self._given: int | None = None  # the last offset that was handed over
        self._queue: deque[Sequence[Record]] = deque()
        self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._held = False
        self._begun = asyncio.Event()  # restored, or given up
        self._given_up = False
        self._hinted_at = 0.0
        self._hint_due = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def position(self) -> Position | None:
        """How far the partition is processed; None before it is restored. Any thread may ask."""
        return self._position if self._begun.is_set() else None

    @property
    def queued_bytes(self) -> int:
        """Bytes of values that wait for a transaction."""
        return self._queued_bytes

    async def begin(self) -> int | None:
        """Return the offset to read on from: after what was handed over, or at the position.

        None: the partition was given up meanwhile; whoever waited must not wait for ever.
        """
        await self._begun.wait()
        if self._given_up:
            return None
        if self._given is None:
            self._given = self._position.next - 1
        return self._given + 1

    def take(self, batch: MicroBatch) -> None:
        """Take the next micro-batch; one that does not follow on the last ends the process."""
        if batch.before != self._given:
            self._work.fail(
                f"Partition {self.number}: a micro-batch follows on offset {batch.before}, but "
                f"{self._given} was the last one taken; it is read again from the position."
            )
        self._given = batch.records[-1].offset
        self._queue.append(batch.records)
        self._queued_bytes += _bytes_of(batch.records)
        self._arrived.set()
        if self._queued_bytes >= QUEUE_LIMIT_BYTES and not self._held:
            self._held = True
            self._work.hold(self.number)

    async def stop(self) -> None:
        """Give the partition up: a transaction under way is left to be aborted."""
        failpoint("sessionizer.before_give_up")
        self._given_up = True
        self._begun.set()
        try:
            async with asyncio.timeout(STEP_WITHIN_S):
                await cancel(self._task)
                if self._producer is not None:
                    await close(self._producer)
        except TimeoutError:
            self._work.fail(
                f"Partition {self.number} cannot be given up within {STEP_WITHIN_S:.0f} s; the "
                "group waits for it, so this process ends, and a new one goes on."
            )
        failpoint("sessionizer.after_give_up")

    async def _run(self) -> None:
        try:
            await self._restore()
            while True:
                records = await self._next_records()
                begun = time.monotonic()
                await self._process(records)
                took_s = time.monotonic() - begun
                self._work.transactions.note(took_s, len(records))
                await self._pause(took_s)
        except asyncio.CancelledError:
            raise
        except PositionError as error:
            self._work.fail(str(error))
        except BaseException as error:  # the outermost loop: nothing goes on after it
            log.exception("Partition %d stopped", self.number)
            self._work.fail(f"Partition {self.number}: {error!r}")

    async def _restore(self) -> None:
        work, started = self._work, time.monotonic()
        self._producer = transactional_producer(work.servers, work.group, self.number)
        failpoint("sessionizer.before_fence")
        async with asyncio.timeout(STEP_WITHIN_S):
            await self._producer.start()
        failpoint("sessionizer.after_fence")
        self._position = await restore(
            self.partition, work.servers, work.topics, work.pipeline.duplicate_window
        )
        log.info(
            "Partition %d goes on at offset %d with %d users in play (restored in %.1f s)",
            self.number,
            self._position.next,
            len(self.partition.users),
            time.monotonic() - started,
        )
        failpoint("sessionizer.after_restore")
        self._hint_due = True  # whoever gave the partition up may have owed it
        self._begun.set()

    async def _next_records(self) -> Sequence[Record]:
        """Wait for records; return what has queued up, within the limit of a transaction."""
        while not self._queue:
            self._arrived.clear()
            try:
                await asyncio.wait_for(
                    self._arrived.wait(), _HINT_EVERY_S if self._hint_due else None
                )
            except TimeoutError:
                return ()
        records = list(self._queue.popleft())
        while self._queue and len(records) + len(self._queue[0]) <= MAX_RECORDS:
            records += self._queue.popleft()
        self._queued_bytes -= _bytes_of(records)
        if self._held and self._queued_bytes < QUEUE_LIMIT_BYTES // 2:
            self._held = False
            self._work.release(self.number)
        return records

    async def _process(self, records: Sequence[Record]) -> None:
        """Apply the records and commit; without records, only the hint that is due."""
        work, partition = self._work, self.partition
        outputs = Outputs(self._producer, work.topics, self.number)
        for number, record in enumerate(records, 1):
            partition.step(record, outputs)
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        if records:
            last = records[-1]
            partition.sweep(last.timestamp, _SWEEP)
            self._position = Position(last.offset + 1, last.offset, last.timestamp)
        outputs.keep(partition.take_changes(), self._position)
        await outputs.commit(self._hint(forced=not records), work.group)

    def _hint(self, *, forced: bool) -> dict[TopicPartition, int] | None:
        """Return the group's offset once a second, and once more after the last transaction."""
        now = time.monotonic()
        self._hint_due = not forced and now - self._hinted_at < _HINT_EVERY_S
        if self._hint_due:
            return None
        self._hinted_at = now
        source = TopicPartition(self._work.topics.events, self.number)
        return {source: self._position.next}

    async def _pause(self, took_s: float) -> None:
        """Wait before the next transaction, unless a large one is ready."""
        if sum(map(len, self._queue)) < _READY_RECORDS:
            await asyncio.sleep(min(_MAX_PAUSE_S, _PAUSE_FACTOR * took_s))


def _bytes_of(records: Sequence[Record]) -> int:
    return sum(len(record.value or b"") for record in records)
