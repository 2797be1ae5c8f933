"""One micro-batch, one Kafka transaction: outputs, state and position are committed as one.

In: the outputs of the steps, the changed states, the position. Out: a committed transaction.
Never: part of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer, TopicPartition

from contracts.rows import AcceptedRow, RejectedRow, SessionRow, encode_row
from contracts.topics import Topics
from processors.sessionizer.position import POSITION_KEY, Position, encode_position, user_key
from runtime.failpoints import failpoint

TRANSACTION_TIMEOUT_MS = 15_000
MAX_BATCH_BYTES = 900_000  # under the broker's message.max.bytes of 1 MiB

FAILPOINTS = (
    "sessionizer.before_begin",
    "sessionizer.after_begin",
    "sessionizer.after_send",
    "sessionizer.before_commit",
    "sessionizer.after_commit",
)


def group_of(namespace: str) -> str:
    """Return the consumer group of a pipeline's sessionizers; transactional ids begin with it."""
    return f"{namespace}.sessionizer"


def transactional_producer(servers: str, group: str, partition: int) -> AIOKafkaProducer:
    """Return the producer of a partition; starting it fences whoever held the partition before.

    zstd: aiokafka compresses lz4 at its level 9, which costs three times as much.
    """
    return AIOKafkaProducer(
        bootstrap_servers=servers,
        transactional_id=f"{group}-{partition}",
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        compression_type="zstd",
        max_batch_size=MAX_BATCH_BYTES,
        linger_ms=0,
    )


class Outputs:
    """What a micro-batch writes, in record builders: one open a topic and partition."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, partition: int) -> None:
        self._producer = producer
        self._events = topics.events
        self._accepted = _Target(producer, topics.accepted, partition)
        self._sessions = _Target(producer, topics.sessions, partition)
        self._rejected = _Target(producer, topics.rejected, partition)
        self._state = _Target(producer, topics.state, partition)
        self._elsewhere: dict[int, _Target] = {}

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        """Take an accepted event."""
        self._accepted.append(user, encode_row(row))

    def complete(self, user: bytes, row: SessionRow) -> None:
        """Take a completed session."""
        self._sessions.append(user, encode_row(row))

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        """Take a record that is not an event."""
        self._rejected.append(key, encode_row(row))

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """Take an event that belongs into another partition."""
        target = self._elsewhere.get(partition)
        if target is None:
            target = _Target(self._producer, self._events, partition)
            self._elsewhere[partition] = target
        target.append(user, value, headers)

    def keep(self, changes: Mapping[str, bytes | None], position: Position) -> None:
        """Take the states that changed (None: nothing is left) and the position."""
        for user_id, state in changes.items():
            self._state.append(user_key(user_id), state)
        self._state.append(POSITION_KEY, encode_position(position))

    async def commit(self, hint: Mapping[TopicPartition, int] | None, group: str) -> None:
        """Write everything in one transaction.

        `hint` is the group's offset, for monitors of lag alone; nothing of ours reads it.

        Raises:
            KafkaError: it was not committed, or that is unknown; the process must end.
        """
        failpoint("sessionizer.before_begin")
        await self._producer.begin_transaction()
        failpoint("sessionizer.after_begin")
        targets = (self._accepted, self._sessions, self._rejected, self._state)
        await asyncio.gather(*(each.send() for each in (*targets, *self._elsewhere.values())))
        failpoint("sessionizer.after_send")
        if hint is not None:
            await self._producer.send_offsets_to_transaction(hint, group)
        failpoint("sessionizer.before_commit")
        await self._producer.commit_transaction()
        failpoint("sessionizer.after_commit")


class _Target:
    """Record builders of one topic and partition, the last of them open."""

    __slots__ = ("_builder", "_full", "_partition", "_producer", "_topic")

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self._producer, self._topic, self._partition = producer, topic, partition
        self._builder = producer.create_batch()
        self._full: list[object] = []

    def append(
        self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]] | None = None
    ) -> None:
        builder = self._builder
        if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
            self._full.append(builder)
            builder = self._builder = self._producer.create_batch()
            builder.append(timestamp=None, key=key, value=value, headers=headers)

    async def send(self) -> None:
        builders = self._full
        if self._builder.record_count():
            builders = [*builders, self._builder]
        acknowledged = [
            await self._producer.send_batch(each, self._topic, partition=self._partition)
            for each in builders
        ]
        for each in acknowledged:
            await each
