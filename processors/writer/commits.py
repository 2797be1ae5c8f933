"""Commits of offsets: all partitions' in one request, and the proof of who owns them since when.

In: an offset and its metadata for each partition. Out: the moment from which the session time-out
runs anew. Never: a commit on behalf of another generation of the group.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

# On Linux there is a clock that goes on while the machine sleeps.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class NoLongerOwnerError(Exception):
    """The group went on without this member; somebody else may own its partitions."""


def now_s() -> float:
    """Return the seconds of a clock that only goes forward, also while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


def now_ms() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Commits:
    """The commits of one generation: what gathers while one is under way goes out as the next."""

    def __init__(self, consumer: AIOKafkaConsumer, clock: Callable[[], float] = now_s) -> None:
        self._consumer = consumer
        self._clock = clock
        self._generation = generation_of(consumer)
        self._pending: dict[TopicPartition, OffsetAndMetadata] = {}
        self._waiting: list[asyncio.Future[float]] = []
        self._sending: asyncio.Task[None] | None = None

    async def commit(self, where: TopicPartition, offset: int, metadata: str = "") -> float:
        """Commit, and return a moment from which on no other can own the partition for a session.

        It is the moment before the request: the broker counts the session from when it came.

        Raises:
            NoLongerOwnerError: the group has gone on.
            KafkaError: the broker refuses for another reason.
        """
        self._pending[where] = OffsetAndMetadata(offset, metadata)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        owned_since: float = await done
        return owned_since

    async def close(self) -> None:
        """Send nothing more: from here on another member may commit."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _send(self) -> None:
        while self._pending:
            offsets, waiting = self._pending, self._waiting
            self._pending, self._waiting = {}, []
            try:
                began = self._clock()
                self._require_membership()
                await self._consumer.commit(offsets)
                self._require_membership()
            except BaseException as error:
                _fail(waiting, error)
                if isinstance(error, asyncio.CancelledError):
                    raise
            else:
                _succeed(waiting, began)

    def _require_membership(self) -> None:
        """A member that was thrown out commits as nobody, and the broker may accept it."""
        generation = generation_of(self._consumer)
        if generation != self._generation:
            raise NoLongerOwnerError(f"generation {self._generation} ended, now {generation}")


def generation_of(consumer: AIOKafkaConsumer) -> int:
    """Return the generation of the group that the consumer is a member of; -1 for none."""
    generation: int = consumer._coordinator.generation
    return generation


def _fail(waiting: list[asyncio.Future[float]], error: BaseException) -> None:
    for done in waiting:
        if done.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            done.cancel()
        else:
            done.set_exception(error)


def _succeed(waiting: list[asyncio.Future[float]], began: float) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(began)
