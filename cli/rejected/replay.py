"""A replay: events into `track.events` and marks into `track.replayed`, in one transaction.

In: rejections, each with the event that it has become. Out: each event in the log once, however
often and wherever a replay is cut off. Never: an event without its mark, a mark without its event.

Starting the producer ends what an earlier run has left open, and fences that run should it be alive
after all. The marks are read after that, so none is still to come: what has one is not sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from cli.rejected.rejection import Rejection
from contracts.events import Event, encode_event
from contracts.records import SOURCE_HEADER
from contracts.replays import Mark, decode_mark, encode_mark, without_user
from contracts.topics import Topics
from runtime.failpoints import failpoint
from runtime.kafka.consumers import read_latest
from runtime.settings import Settings
from runtime.startup import StartupError

FAILPOINTS = (
    "replay.before_begin",
    "replay.after_begin",
    "replay.after_events",
    "replay.before_commit",
    "replay.after_commit",
)
TRANSACTION_TIMEOUT_MS = 15_000
_WITHIN_S = 30.0

Marks = dict[str, Mark]


@dataclass(frozen=True, slots=True)
class Ready:
    """A rejection that can be sent: as which event, into which partition."""

    rejection: Rejection
    event: Event
    partition: int


async def read_marks(settings: Settings) -> Marks:
    """Return the marks of all replays that were committed, by the name of the rejection.

    Raises:
        KafkaError, TimeoutError: the broker does not answer.
    """
    topic = Topics.of(settings.namespace).replayed
    async with asyncio.timeout(_WITHIN_S):
        latest = await read_latest(settings.kafka_servers, topic, 0)
    return {key.decode(): decode_mark(value) for key, value in latest.items()}


@asynccontextmanager
async def replaying(settings: Settings) -> AsyncIterator[Replay]:
    """Give the one replay that may write.

    Raises:
        StartupError: another run began meanwhile, or Kafka does not answer.
    """
    producer = AIOKafkaProducer(
        **settings.kafka_servers.client_arguments(),
        transactional_id=f"{settings.namespace}.replay",
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        linger_ms=0,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            await producer.start()
        yield Replay(producer, Topics.of(settings.namespace), await read_marks(settings))
    except ProducerFenced as error:
        raise StartupError(
            "Another replay began meanwhile and goes on, or this one was paused for too long: what "
            "is not said to be sent above was not sent. Run it again when the other has ended."
        ) from error
    except (KafkaError, TimeoutError) as error:
        raise StartupError(
            f"Kafka failed ({str(error) or type(error).__name__}); whether the last records were "
            "sent is not known. Run it again: what was sent has its mark and is not sent again."
        ) from error
    finally:
        await _stop(producer)


class Replay:
    """Sends events, and knows what has been sent."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, marks: Marks) -> None:
        self.marks = marks
        self._producer = producer
        self._topics = topics

    async def send(self, batch: Sequence[Ready]) -> None:
        """Write the events and their marks in one transaction; none may have a mark.

        Raises:
            ProducerFenced: another replay began; nothing of the batch was written.
            KafkaError, TimeoutError: that is unknown.
        """
        if not batch:
            return
        now = time.time_ns() // 1_000_000
        marks = {str(each.rejection.place): _mark(each, now) for each in batch}
        if len(marks) < len(batch) or marks.keys() & self.marks.keys():
            raise ValueError("a rejection was to be sent twice")
        async with asyncio.timeout(_WITHIN_S):
            await self._write(batch, marks)
        self.marks.update(marks)

    async def forget(self, user_id: str) -> int:
        """Write the marks that name a user anew without the name; return how many there were.

        Raises:
            ProducerFenced: another replay began; nothing was written.
            KafkaError, TimeoutError: that is unknown.
        """
        named = {name: mark for name, mark in self.marks.items() if mark.user_id == user_id}
        if named:
            async with asyncio.timeout(_WITHIN_S), self._producer.transaction():
                for name, mark in named.items():
                    await (await self._mark(name, without_user(mark)))
        return len(named)

    async def _write(self, batch: Sequence[Ready], marks: Marks) -> None:
        producer = self._producer
        failpoint("replay.before_begin")
        await producer.begin_transaction()
        failpoint("replay.after_begin")
        sent = [
            await producer.send(
                self._topics.events,
                encode_event(each.event),
                each.event.user_id.encode(),
                partition=each.partition,
                headers=_headers(each.rejection),
            )
            for each in batch
        ]
        await asyncio.gather(*sent)
        failpoint("replay.after_events")
        await asyncio.gather(*[await self._mark(name, mark) for name, mark in marks.items()])
        failpoint("replay.before_commit")
        await producer.commit_transaction()
        failpoint("replay.after_commit")

    async def _mark(self, name: str, mark: Mark) -> asyncio.Future[Any]:
        """Write a mark; return the future of its acknowledgement."""
        sent: asyncio.Future[Any] = await self._producer.send(
            self._topics.replayed, encode_mark(mark), name.encode(), partition=0
        )
        return sent


def _mark(each: Ready, now: int) -> Mark:
    return Mark(each.event.event_id or "", each.event.user_id, each.partition, now)


def _headers(rejection: Rejection) -> list[tuple[str, bytes]]:
    return [(SOURCE_HEADER, rejection.source.encode())] if rejection.source else []


async def _stop(producer: AIOKafkaProducer) -> None:
    """Leave the broker; one that is away is not waited for."""
    try:
        async with asyncio.timeout(5):
            await producer.stop()
    except (KafkaError, TimeoutError):
        return
