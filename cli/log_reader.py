"""The log, read as any reader may: `track.events` from its beginning, committed records alone.

In: bootstrap servers, a topic, its number of partitions. Out: its records, each partition's in
order. Never: a group, a commit, Faust.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.kafka.consumers import close_consumer
from runtime.kafka.fetched_records import allow_any_header_name
from runtime.kafka.servers import KafkaServers

_QUIET_S = 2.0


class LogReader:
    """Reads on from where it was, up to the end that the log has at that moment."""

    def __init__(self, servers: KafkaServers, topic: str, partitions: int) -> None:
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        allow_any_header_name()
        self._consumer = AIOKafkaConsumer(
            **servers.client_arguments(),
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )

    async def __aenter__(self) -> Self:
        """Begin at the first record that each partition still has."""
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        firsts = await self._consumer.beginning_offsets(self._partitions)
        for partition, first in firsts.items():
            self._consumer.seek(partition, first)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the broker."""
        await close_consumer(self._consumer)

    async def read_to_end(self, take: Callable[[int, Any], None]) -> int:
        """Give every record up to the present end to `take`, with its partition; return how many.

        An end that a reader of committed records cannot reach within two quiet seconds is left
        for the next call.
        """
        ends = await self._consumer.end_offsets(self._partitions)
        count, quiet_until = 0, asyncio.get_running_loop().time() + _QUIET_S
        while not await self.has_reached(ends):
            fetched = await self._consumer.getmany(timeout_ms=200, max_records=20_000)
            for partition, records in fetched.items():
                for record in records:
                    take(partition.partition, record)
                count += len(records)
            now = asyncio.get_running_loop().time()
            if fetched:
                quiet_until = now + _QUIET_S
            elif now > quiet_until:
                break
        return count

    async def has_reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Tell whether everything before these offsets has been read."""
        positions = [await self._consumer.position(partition) for partition in ends]
        return all(at >= end for at, end in zip(positions, ends.values(), strict=True))
