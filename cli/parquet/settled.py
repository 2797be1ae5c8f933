"""Until when the table has everything that was received.

In: Kafka, with the offsets of sessionizer and writer. Out: a moment; what was received before it is
in the table `events`. Never: a later moment than that, as far as the broker's clock runs forward
and is not more than a minute behind this machine's.

First the sessionizer's offsets are asked for, then the writer's. What lies before an offset is
done; the first record behind it says since when something is not. Where there is none, everything
is done that had come when it was asked. A record of a transaction that is open has come: what
becomes of it is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.comparison.reading import read_pieces
from cli.comparison.rows import received_at
from contracts.groups import sessionizer_group, writer_group
from contracts.topics import Topics
from processors.writer.commits import now_ms
from processors.writer.standings import read_raw_commits
from runtime.kafka.consumers import open_consumer, read_ends
from runtime.settings import Settings

_CLOCKS_DIFFER_MS = 60_000


async def read_settled(settings: Settings) -> int:
    """Return the moment, in ms since 1970, before which everything received is in `events`.

    Raises:
        KafkaError: a broker does not answer.
        ServerAwayError: a transaction stays open.
    """
    began, topics = now_ms(), Topics.of(settings.namespace)
    moments = [began - _CLOCKS_DIFFER_MS]
    async with open_consumer(settings.kafka_servers) as consumer:
        for topic, group, time_of in (
            (topics.events, sessionizer_group(settings.namespace), _arrival_of),
            (topics.accepted, writer_group(settings.namespace), _receipt_of),
        ):
            wheres = [TopicPartition(topic, number) for number in range(settings.partitions)]
            commits = await read_raw_commits(settings.kafka_servers, group, wheres)
            offsets = {where: offset for where, (offset, _) in commits.items()}
            ends = await read_ends(settings.kafka_servers, wheres)
            moments += await _read_moments(consumer, offsets, ends, time_of)
    return min(moments)


async def _read_moments(
    consumer: AIOKafkaConsumer,
    offsets: Mapping[TopicPartition, int | None],
    ends: Mapping[TopicPartition, int],
    time_of: Callable[[Any], int],
) -> list[int]:
    """Return when the first record of each partition was received that is not done, if any."""
    starts = await consumer.beginning_offsets(list(offsets))
    moments = []
    for where, offset in offsets.items():
        first = max(starts[where], offset or 0)
        async with aclosing(read_pieces(consumer, where, first, ends[where])) as pieces:
            async for piece in pieces:
                if piece.records:
                    moments.append(time_of(piece.records[0]))
                    break
    return moments


def _arrival_of(record: Any) -> int:
    return int(record.timestamp)


def _receipt_of(record: Any) -> int:
    """Return when the event of an accepted row was received; one that does not say holds up all."""
    return received_at(record.value or b"") or 0
