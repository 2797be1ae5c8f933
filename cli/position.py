"""`track position`: how far each partition of `track.events` has been processed, and setting it.

In: settings; a partition and an offset to go on from. Out: a line a partition, or the new position
written to `track.state` in a transaction that fences the sessionizer that owns the partition.
Never: a change that was not asked for; what it means for the counts is said before it is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from contracts.groups import sessionizer_group
from contracts.topics import Topics
from processors.sessionizer.position import (
    POSITION_KEY,
    Position,
    decode_position,
    encode_position,
)
from processors.sessionizer.transactions import transactional_producer
from runtime.kafka.consumers import learn, open_consumer, read_latest
from runtime.settings import Settings
from runtime.startup import ServerAwayError, StartupError

_WITHIN_S = 60.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition stands: its log's first offset and end, and the position, if it has one."""

    partition: int
    first: int
    end: int
    position: Position | None

    def __str__(self) -> str:
        """One line for people."""
        at = "no position" if self.position is None else f"position {self.position.next}"
        return f"partition {self.partition}: {at}, log {self.first} to {self.end}"

    def resolve(self, to: str) -> int:
        """Return the offset that `beginning`, `end` or a number means.

        Raises:
            StartupError: it is none of them, or lies outside of the log.
        """
        offset = {"beginning": self.first, "end": self.end}.get(to)
        if offset is None:
            offset = int(to) if to.isascii() and to.isdigit() else -1
        if not self.first <= offset <= self.end:
            raise StartupError(
                f"{to!r} is no offset of partition {self.partition}; it must be beginning, end or "
                f"a number from {self.first} to {self.end}."
            )
        return offset

    def consequence(self, offset: int) -> str:
        """Return what going on from an offset means for what is counted."""
        now = self.position.next if self.position else None
        if now is None:
            return "what was processed before the position was lost may be counted once more"
        if offset < now:
            return f"{now - offset} offsets are processed again, and counted twice"
        return f"{offset - now} offsets are skipped, and never counted"


def show_positions(settings: Settings) -> None:
    """Print where each partition stands."""
    for place in _bounded(_read_places(settings)):
        click.echo(str(place))


def set_position(settings: Settings, partition: int, to: str, *, confirmed: bool) -> None:
    """Set a partition's position, once it was confirmed; before, say what it means.

    Raises:
        StartupError: there is no such partition or offset, or Kafka does not answer.
    """
    places = _bounded(_read_places(settings))
    if not 0 <= partition < len(places):
        raise StartupError(f"There is no partition {partition}; they are 0 to {len(places) - 1}.")
    offset = places[partition].resolve(to)
    click.echo(f"{places[partition]}; from {offset} on: {places[partition].consequence(offset)}.")
    if not confirmed:
        click.echo("Nothing was changed; say --yes to do it.")
        return
    _bounded(_write_position(settings, partition, offset))
    click.echo(f"partition {partition}: position {offset}")


async def _read_places(settings: Settings) -> list[Place]:
    topics = Topics.of(settings.namespace)
    sources = [TopicPartition(topics.events, number) for number in range(settings.partitions)]
    async with open_consumer(settings.kafka_servers) as consumer:
        await learn(consumer, sources)
        firsts = await consumer.beginning_offsets(sources)
        ends = await consumer.end_offsets(sources)
    places = []
    for source in sources:
        kept = await read_latest(settings.kafka_servers, topics.state, source.partition)
        value = kept.get(POSITION_KEY)
        position = None if value is None else decode_position(value)
        places.append(Place(source.partition, firsts[source], ends[source], position))
    return places


async def _write_position(settings: Settings, partition: int, offset: int) -> None:
    """Write it as the owner would: starting the producer fences the sessionizer that is there."""
    group = sessionizer_group(settings.namespace)
    producer = transactional_producer(settings.kafka_servers, group, partition)
    async with producer, producer.transaction():
        await producer.send_and_wait(
            Topics.of(settings.namespace).state,
            encode_position(Position(next=offset)),
            POSITION_KEY,
            partition=partition,
        )


def _bounded(work: Coroutine[Any, Any, Result]) -> Result:
    """Run it to its end, within a minute.

    Raises:
        StartupError: Kafka does not answer.
    """
    try:
        return asyncio.run(asyncio.wait_for(work, _WITHIN_S))
    except (KafkaError, TimeoutError) as error:
        raise ServerAwayError(
            f"Kafka does not answer ({str(error) or type(error).__name__}). Start it, or name "
            "another one with TRACK_KAFKA."
        ) from error
