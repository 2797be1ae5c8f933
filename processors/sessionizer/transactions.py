"""One micro-batch, one Kafka transaction: outputs, state and position are committed as one.

In: the outputs of the steps, the changed states, the position. Out: a committed transaction.
Never: part of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.rows import AcceptedRow, RejectedRow, SessionRow, encode_row
from contracts.topics import Topics
from processors.sessionizer.batches import Batch, Batches
from processors.sessionizer.position import POSITION_KEY, Position, encode_position, user_key
from runtime.failpoints import failpoint
from runtime.kafka.servers import KafkaServers

TRANSACTION_TIMEOUT_MS = 15_000
_OTHER_THREAD_FROM_BYTES = 64 * 1024  # a smaller one is compressed in a fraction of a hand-over

log = logging.getLogger(__name__)

FAILPOINTS = (
    "sessionizer.before_begin",
    "sessionizer.after_begin",
    "sessionizer.after_send",
    "sessionizer.after_hint",
    "sessionizer.before_commit",
    "sessionizer.after_commit",
)
"""Where a test kills the sessionizer around a transaction."""


def transactional_producer(servers: KafkaServers, group: str, partition: int) -> AIOKafkaProducer:
    """Return the producer of a partition; starting it fences whoever held the partition before."""
    return AIOKafkaProducer(
        **servers.client_arguments(),
        transactional_id=f"{group}-{partition}",
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        linger_ms=0,
    )


async def close(producer: AIOKafkaProducer) -> None:
    """End a producer whose partition is given up; what it could not do any more is the next one's.

    Fenced in the middle of a transaction, aiokafka's `stop` raises and leaves its connections open.
    """
    try:
        await producer.stop()
    except KafkaError as error:
        log.info("A producer was given up within a transaction: %r", error)
        await producer.client.close()


class Outputs:
    """What a micro-batch writes, in record builders: one open a topic and partition."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, partition: int) -> None:
        self._producer = producer
        self._events = topics.events
        self._accepted = Batches(topics.accepted, partition)
        self._sessions = Batches(topics.sessions, partition)
        self._rejected = Batches(topics.rejected, partition)
        self._state = Batches(topics.state, partition)
        self._elsewhere: dict[int, Batches] = {}

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        """Take an accepted event."""
        self._accepted.add(user, encode_row(row))

    def complete(self, user: bytes, row: SessionRow) -> None:
        """Take a completed session."""
        self._sessions.add(user, encode_row(row))

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        """Take a record that is not an event."""
        self._rejected.add(key, encode_row(row))

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """Take an event that belongs into another partition."""
        target = self._elsewhere.get(partition)
        if target is None:
            target = self._elsewhere[partition] = Batches(self._events, partition)
        target.add(user, value, headers)

    def keep(self, changes: Mapping[str, bytes | None], position: Position) -> None:
        """Take the states that changed (None: nothing is left) and the position."""
        for user_id, state in changes.items():
            self._state.add(user_key(user_id), state)
        self._state.add(POSITION_KEY, encode_position(position))

    async def commit(self, hint: Mapping[TopicPartition, int] | None, group: str) -> None:
        """Write everything in one transaction.

        `hint` is the group's offset, for monitors of lag alone; nothing of ours reads it.

        Raises:
            KafkaError: it was not committed, or that is unknown; the process must end.
        """
        targets = await self._built()
        failpoint("sessionizer.before_begin")
        await self._producer.begin_transaction()
        failpoint("sessionizer.after_begin")
        await asyncio.gather(*(self._send(*target) for target in targets))
        failpoint("sessionizer.after_send")
        if hint is not None:
            await self._producer.send_offsets_to_transaction(hint, group)
            failpoint("sessionizer.after_hint")
        failpoint("sessionizer.before_commit")
        await self._producer.commit_transaction()
        failpoint("sessionizer.after_commit")

    async def _built(self) -> list[tuple[Batches, list[Batch]]]:
        """Return what is to be sent; much of it is compressed by another thread meanwhile."""
        kept = (self._accepted, self._sessions, self._rejected, self._state)
        targets = [(each, each.close()) for each in (*kept, *self._elsewhere.values())]
        batches = [batch for _, each in targets for batch in each]
        if sum(batch.size() for batch in batches) >= _OTHER_THREAD_FROM_BYTES:
            await asyncio.to_thread(_build, batches)
        return targets

    async def _send(self, target: Batches, batches: list[Batch]) -> None:
        acknowledged = [
            await self._producer.send_batch(each, target.topic, partition=target.partition)
            for each in batches
        ]
        for each in acknowledged:
            await each


def _build(batches: list[Batch]) -> None:
    for batch in batches:
        batch.build()
