"""Who may change tables and offsets: the repair alone, from its beginning to its end.

In: the writer's group. Out: a mark at every offset, which no writer begins behind, and at the end
the offsets that writers go on from. Never: a change while the group has members, or while
something that was sent before is still at work in ClickHouse.

A mark outlives its run. A run that was cut off leaves its own, so that nobody but the next repair
goes on; of two at once, the later takes the marks over and the earlier ends.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from contracts.groups import writer_group
from contracts.tables import TABLE_OF_TOPIC
from contracts.topics import Topics
from processors.writer.ranges import Mark, decode_intent, decode_mark, encode_mark
from processors.writer.standings import ask_raw_commits
from runtime.clickhouse import AsyncClient
from runtime.kafka.consumers import close_consumer, open_consumer
from runtime.settings import Settings
from runtime.startup import StartupError

_POLL_S = 0.2
# A member that was killed is one until its session ends.
_BEYOND_SESSION_S = 3.0
_COMMIT_S = 30.0
# An insert that a writer has sent may take a minute.
_AT_WORK_S = 90.0

_SELECT_AT_WORK = """
SELECT query_kind FROM system.processes
WHERE current_database = currentDatabase() AND query_kind IN ('Insert', 'Alter')
UNION ALL
SELECT latest_fail_reason FROM system.mutations
WHERE database = currentDatabase() AND NOT is_done
"""


class Guard:
    """The marks of one run; `run` names it, and nothing else."""

    def __init__(self, settings: Settings, client: AsyncClient, admin: AIOKafkaAdminClient) -> None:
        self._settings = settings
        self._admin = admin
        self._client = client
        self._group = writer_group(settings.namespace)
        self.run = secrets.token_hex(8)
        topics = Topics.of(settings.namespace)
        self._wheres = [
            TopicPartition(getattr(topics, name), number)
            for name in TABLE_OF_TOPIC
            for number in range(settings.partitions)
        ]
        self._before: dict[TopicPartition, OffsetAndMetadata] = {}

    async def require_no_writer(self) -> None:
        """See that the group has no members, waiting for those that were killed.

        Raises:
            StartupError: it has, after the time in which a killed one is thrown out.
        """
        patience_s = self._settings.session_timeout_ms / 1000 + _BEYOND_SESSION_S
        deadline, told = time.monotonic() + patience_s, False
        while members := await self._members():
            if time.monotonic() > deadline:
                raise StartupError(_refusal(self._group, members))
            if not told:
                click.echo(
                    f"The group {self._group} has members; waiting {patience_s:.0f} s in case "
                    "they were killed …"
                )
                told = True
            await asyncio.sleep(_POLL_S)

    async def begin(self) -> None:
        """Mark every offset, and wait until nothing that was sent before is at work.

        A writer that begins after this refuses to work; one that began before is refused here.

        Raises:
            StartupError: a writer has begun, or something does not end.
        """
        before = await ask_raw_commits(self._admin, self._group, self._wheres)
        starts = await self._log_starts()
        marked = {}
        for where, (offset, metadata) in before.items():
            earlier = decode_mark(metadata) if metadata else None
            mark = Mark(
                repair=self.run,
                was=_known(metadata) if earlier is None else earlier.was,
                had_offset=offset is not None if earlier is None else earlier.had_offset,
                cut_off=earlier is not None,
            )
            at = starts[where] if offset is None else offset
            marked[where] = OffsetAndMetadata(at, encode_mark(mark))
            self._before[where] = OffsetAndMetadata(at, mark.was)
        await self._commit(marked)
        await self._wait_for_end()

    async def require_alone(self) -> None:
        """See that the marks are still ours; to be asked before every change.

        Raises:
            StartupError: another repair has taken them over.
        """
        where = self._wheres[0]
        found = await ask_raw_commits(self._admin, self._group, [where])
        mark = decode_mark(found[where][1])
        if mark is None or mark.repair != self.run:
            raise StartupError(
                "Another `track repair` has begun, or somebody has set the offsets of the group "
                f"{self._group}; this one ends. Run one of them at a time."
            )

    async def end(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take the marks away: set these offsets, and leave the others as they were."""
        await self.require_alone()
        mended = {where: OffsetAndMetadata(offset, "") for where, offset in offsets.items()}
        await self._commit({**self._before, **mended})

    async def _members(self) -> Sequence[str]:
        for response in await self._admin.describe_consumer_groups([self._group]):
            for group in response.groups:
                return [f"{member[1]} at {member[2]}" for member in group[5]]
        return []

    async def _log_starts(self) -> dict[TopicPartition, int]:
        async with open_consumer(self._settings.kafka_servers) as consumer:
            starts: dict[TopicPartition, int] = await consumer.beginning_offsets(self._wheres)
        return starts

    async def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit as no member of the group: Kafka refuses that where it has any."""
        consumer = AIOKafkaConsumer(
            **self._settings.kafka_servers.client_arguments(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
        )
        try:
            async with asyncio.timeout(_COMMIT_S):
                await consumer.start()
                consumer.assign(list(offsets))
                await consumer.commit(dict(offsets))
        except CommitFailedError as error:
            raise StartupError(_refusal(self._group, await self._members())) from error
        finally:
            await close_consumer(consumer)

    async def _wait_for_end(self) -> None:
        deadline = time.monotonic() + _AT_WORK_S
        while rows := (await self._client.query(_SELECT_AT_WORK)).result_rows:
            if time.monotonic() > deadline:
                raise StartupError(
                    f"ClickHouse is still at work on {self._settings.namespace} "
                    f"({'; '.join(sorted({row[0] or 'a mutation' for row in rows}))}). See "
                    "system.processes and system.mutations, and run this again when it has ended."
                )
            await asyncio.sleep(_POLL_S)


def _refusal(group: str, members: Sequence[str]) -> str:
    names = ", ".join(members) or "one that has just begun"
    return (
        f"The writer works: the group {group} has members ({names}). Stop it first; on this "
        "machine end `track up`, and the repair starts Kafka and ClickHouse by itself."
    )


def _known(metadata: str) -> str:
    """Return metadata that a writer wrote; what another program wrote is let go."""
    try:
        decode_intent(metadata)
    except ValueError:
        return ""
    return metadata
