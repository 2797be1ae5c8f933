"""How fresh answers are: everything that Kafka received before a moment is counted.

In: how far logs reach and how far each stage has committed, looked at again and again. Out: that
moment. Never: a moment that is too late; an answer that waits for Kafka.

A look notes where `track.events` ends. Once the sessionizers have committed up to there, all that
came of it lies in the topics behind them, which end somewhere; once the writers have committed up
to there, it is in ClickHouse. So what was received before the look is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.groups import sessionizer_group, writer_group
from contracts.topics import Topics
from runtime.cancelling import cancel
from runtime.kafka.admin import open_admin, read_group_offsets
from runtime.kafka.probe import Gap, find_records, open_asking
from runtime.settings import Settings

LOOK_EVERY_S = 1.0
_ANSWER_WITHIN_S = 10.0
_RETRY_EVERY_S = 5.0
_END_WITHIN_S = 2.0
# Looks that are waited for; under a long lag every other one is let go.
_MOST_LOOKS = 240

Offsets = Mapping[TopicPartition, int]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw, in the order in which it was asked for.

    Attributes:
        at_ms: the moment before, in milliseconds since 1970.
        events_end: where each partition of the events ends.
        sessionized: how far the sessionizers have committed.
        outputs_end: where each partition of accepted events, sessions and rejections ends.
        written: how far the writers have committed.
    """

    at_ms: int
    events_end: Offsets
    sessionized: Offsets
    outputs_end: Offsets
    written: Offsets


@dataclass(slots=True)
class Progress:
    """What looks say together.

    Attributes:
        as_of_ms: all that was received before it is counted; 0: nothing is known.
    """

    as_of_ms: int = 0
    _received: deque[tuple[int, Offsets]] = field(default_factory=deque)
    _put_out: deque[tuple[int, Offsets]] = field(default_factory=deque)

    def take(self, look: Look) -> None:
        """Take one more look."""
        _append(self._received, (look.at_ms, look.events_end))
        sessionized = _last_reached(self._received, look.sessionized)
        if sessionized is not None:
            _append(self._put_out, (sessionized, look.outputs_end))
        written = _last_reached(self._put_out, look.written)
        if written is not None:
            self.as_of_ms = written


class Freshness:
    """The progress of a pipeline, as a process of query sees it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._progress = Progress()
        topics = Topics.of(settings.namespace)
        self._events = _partitions((topics.events,), settings.partitions)
        outputs = (topics.accepted, topics.sessions, topics.rejected)
        self._outputs = _partitions(outputs, settings.partitions)
        self._gaps: dict[TopicPartition, Gap] = {}
        # What was read last: a gap without a record, an offset behind which there is one.
        self._empty: dict[TopicPartition, Gap] = {}
        self._followed: dict[TopicPartition, int] = {}

    @property
    def as_of_ms(self) -> int:
        """All that Kafka received before it is counted, in ms since 1970; 0: nothing is known."""
        return self._progress.as_of_ms

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look again and again; where no Kafka is named, never."""
        if not self._settings.kafka:
            yield
            return
        stop = asyncio.Event()
        watching = asyncio.create_task(self._watch(stop))
        try:
            yield
        finally:
            # In order, as long as that takes no time: a connection that is cancelled while it is
            # made is left to the garbage collector by aiokafka.
            stop.set()
            await asyncio.wait([watching], timeout=_END_WITHIN_S)
            await cancel(watching)

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._look_while_it_answers(stop)
            except (KafkaError, TimeoutError, OSError) as error:
                _log.warning("Kafka does not tell how fresh answers are: %r", error)
            self._progress = Progress(self._progress.as_of_ms)
            await _pause(stop, _RETRY_EVERY_S)

    async def _look_while_it_answers(self, stop: asyncio.Event) -> None:
        servers = self._settings.kafka_servers
        async with open_asking(servers) as consumer, open_admin(servers) as admin:
            while not stop.is_set():
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    self._progress.take(await self._look(consumer, admin))
                await _pause(stop, LOOK_EVERY_S)

    async def _look(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> Look:
        namespace, at_ms = self._settings.namespace, time.time_ns() // 1_000_000
        events_end = await consumer.end_offsets(self._events)
        sessionized = await _commits(admin, sessionizer_group(namespace), self._events)
        outputs_end = await consumer.end_offsets(self._outputs)
        written = await _commits(admin, writer_group(namespace), self._outputs)
        return Look(
            at_ms,
            events_end,
            await self._beyond_marks(consumer, sessionized, events_end),
            outputs_end,
            await self._beyond_marks(consumer, written, outputs_end),
        )

    async def _beyond_marks(
        self, consumer: AIOKafkaConsumer, done: Offsets, ends: Offsets
    ) -> Offsets:
        """Return how far is done where only marks of transactions, which are no records, follow.

        A gap is read once it stayed the same from one look to the next: where there is traffic the
        next commit goes beyond it anyway.
        """
        gaps = {
            where: Gap(offset, end)
            for where, end in ends.items()
            if (offset := done.get(where, 0)) < end
        }
        unread = {
            where: gap
            for where, gap in gaps.items()
            if self._gaps.get(where) == gap
            and self._empty.get(where) != gap
            and self._followed.get(where) != gap.offset
        }
        if unread:
            full = await find_records(consumer, unread)
            self._followed |= {where: unread[where].offset for where in full}
            self._empty |= {where: gap for where, gap in unread.items() if where not in full}
        self._gaps |= gaps
        beyond = {where: gap.end for where, gap in gaps.items() if self._empty.get(where) == gap}
        return {**done, **beyond}


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep so long, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _commits(
    admin: AIOKafkaAdminClient, group: str, partitions: list[TopicPartition]
) -> Offsets:
    found = await read_group_offsets(admin, group, partitions)
    return {where: each.offset for where, each in found.items() if each.offset >= 0}


def _partitions(topics: tuple[str, ...], count: int) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic in topics for number in range(count)]


def _append(looks: deque[tuple[int, Offsets]], look: tuple[int, Offsets]) -> None:
    if len(looks) >= _MOST_LOOKS:
        kept = [*looks][::2]
        looks.clear()
        looks.extend(kept)
    looks.append(look)


def _last_reached(looks: deque[tuple[int, Offsets]], done: Offsets) -> int | None:
    """Take away the looks whose ends are reached, and return the moment of the last of them."""
    last = None
    while looks and all(done.get(where, 0) >= end for where, end in looks[0][1].items()):
        last = looks.popleft()[0]
    return last
