"""Where every partition of a topic stands, as the writer would see it at its start.

In: settings. Out: a `Place` for each partition. Never: an exception for what cannot be: it is one
of the things that are said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.groups import writer_group
from contracts.tables import BaseTable
from processors.writer.ranges import Intent, Mark, decode_intent, decode_mark
from processors.writer.standing import FaultError, Standing, require_possible
from processors.writer.standings import heights_of_topic, read_raw_commits, standing_of
from processors.writer.storage import Storage
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition stands.

    Attributes:
        where: topic and partition.
        base: the table of the topic.
        standing: offsets, the log's ends, and how far each table is.
        mark: what a `track repair` has left that has not ended.
        strange: metadata of the offset that no writer wrote; empty where all is well.
    """

    where: TopicPartition
    base: BaseTable
    standing: Standing
    mark: Mark | None = None
    strange: str = ""

    def __str__(self) -> str:
        """The topic and the partition."""
        return f"{self.where.topic}/{self.where.partition}"

    @property
    def announced(self) -> int:
        """The last offset that the table may have; -1 for none."""
        intent = self.standing.intent
        return (self.standing.committed or 0) - 1 if intent is None else intent.end

    @property
    def compared_to(self) -> int:
        """The offset before which the table must have every record: within the log."""
        committed = self.standing.committed or 0
        return max(self.standing.log_start, min(committed, self.standing.log_end))

    @property
    def fault(self) -> str | None:
        """Why the writer would not begin here, as far as that shows without reading the log."""
        if self.strange:
            return f"{self}: another program has committed for the writer's group: {self.strange!r}"
        try:
            require_possible(str(self), self.standing)
        except FaultError as error:
            return str(error)
        return None


async def read_places(
    consumer: AIOKafkaConsumer,
    storage: Storage,
    settings: Settings,
    topic: str,
    base: BaseTable,
) -> list[Place]:
    """Return where each partition of a topic stands.

    Tables are asked before offsets, and offsets before the log's ends: a writer at work puts none
    of them ahead of the next.

    Raises:
        KafkaError, ClickHouseError: a server does not tell.
    """
    numbers = range(settings.partitions)
    wheres = [TopicPartition(topic, number) for number in numbers]
    heights = await heights_of_topic(storage, base, topic, list(numbers))
    commits = await _read_commits(settings, wheres)
    starts = await consumer.beginning_offsets(wheres)
    ends = await consumer.end_offsets(wheres)
    places = []
    for where in wheres:
        offset, intent, mark, strange = commits[where]
        standing = standing_of(offset, intent, starts[where], ends[where], heights[where])
        places.append(Place(where, base, standing, mark, strange))
    return places


async def read_announced(settings: Settings, where: TopicPartition) -> int:
    """Return the last offset of a partition that the writer has announced until now."""
    offset, intent, _, _ = (await _read_commits(settings, [where]))[where]
    return (offset or 0) - 1 if intent is None else intent.end


Commit = tuple[int | None, Intent | None, Mark | None, str]


async def _read_commits(
    settings: Settings, wheres: Sequence[TopicPartition]
) -> dict[TopicPartition, Commit]:
    group = writer_group(settings.namespace)
    found = await read_raw_commits(settings.kafka_servers, group, wheres)
    return {where: _decode(*commit) for where, commit in found.items()}


def _decode(offset: int | None, metadata: str) -> Commit:
    """Return offset, intent, mark, and metadata that is neither; under a mark what was before."""
    mark = decode_mark(metadata) if metadata else None
    if mark is not None:
        offset = offset if mark.had_offset else None
        metadata = mark.was
    try:
        return offset, decode_intent(metadata), mark, ""
    except ValueError:
        return offset, None, mark, metadata
