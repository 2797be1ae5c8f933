"""Whether every table has what was inserted, and how a rollup that lacks rows is filled.

In: a block of one partition. Out: nothing, if all is there in the end. Never: a base table filled,
a rollup filled with more than it lacks.

A token alone proves nothing: ClickHouse may know it and have lost the rows
(docs/decisions/clickhouse-inserts.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiokafka import TopicPartition

from contracts.tables import Rollup
from processors.writer.blocks import Block
from processors.writer.commits import now_ms
from processors.writer.delivery import Delivery
from processors.writer.ranges import Intent, token_of
from processors.writer.rules import Rules
from processors.writer.standing import FaultError, Standing, behind, is_expired, missing_in_rollup
from processors.writer.storage import Storage
from runtime.failpoints import failpoint

log = logging.getLogger(__name__)


class Checks:
    """The questions to the tables about one partition, and the filling of its rollups."""

    def __init__(
        self,
        where: TopicPartition,
        rules: Rules,
        storage: Storage,
        delivery: Delivery,
        note_filled: Callable[[], None],
    ) -> None:
        self._where = where
        self._rules = rules
        self._storage = storage
        self._delivery = delivery
        self._note_filled = note_filled

    async def is_in_base(self, block: Block) -> bool:
        """Tell whether an old range is in the base table wholly, or not at all.

        Raises:
            FaultError: a part of it is there.
        """
        count = await self._count_rows(block)
        if count in (0, len(block.lines)):
            return count > 0
        raise self._behind(
            f"has {count} of {len(block.lines)} rows of offsets {block.first} to {block.last}, "
            "whose token ClickHouse may have forgotten"
        )

    async def require_whole(self, block: Block, rows: Block, intent: Intent) -> None:
        """Ask every table for the rows of a block, `rows` being those not refused.

        A rollup that lacks the block is filled from the base table.

        Raises:
            FaultError: the base table lacks rows, or a rollup still does.
        """
        await self._require_in_base(block, rows)
        if rows.lines:
            last = rows.offsets[-1]
            for rollup in self._rules.base.rollups:
                missing = missing_in_rollup(await self._height_in(rollup), last)
                if missing is not None:
                    await self._fill(rollup, max(missing[0], block.first), last, intent)

    async def fill_rollups_before(self, end: int, standing: Standing) -> None:
        """Fill each rollup that lacks rows of the base table before an offset.

        Raises:
            FaultError: a rollup still lacks them.
        """
        if not standing.lags_in_rollups or end == 0:
            return
        topic, partition = self._where
        _, base_before = await self._delivery.patiently(
            lambda: self._storage.rows_between(self._rules.base, topic, partition, 0, end - 1)
        )
        for rollup in self._rules.base.rollups:
            missing = missing_in_rollup(standing.rollups[rollup.name], base_before)
            if missing is not None:
                await self._fill(rollup, *missing, standing.intent)

    async def _require_in_base(self, block: Block, rows: Block) -> None:
        # Refused rows lie in the same table where it is `rejected_events` itself.
        expected = block if self._rules.base.names_topic else rows
        count = await self._count_rows(block)
        if count == len(expected.lines):
            return
        days, now = self._rules.kept_days, now_ms()
        kept = sum(not is_expired(line, days, now) for line in expected.lines)
        if not kept <= count <= len(expected.lines):
            raise self._behind(
                f"has {count} rows of offsets {block.first} to {block.last}, which hold "
                f"{len(expected.lines)}"
            )

    async def _fill(self, rollup: Rollup, first: int, last: int, intent: Intent | None) -> None:
        """Fill a range of offsets into a rollup, and ask it again."""
        topic, partition = self._where
        log.warning(
            "%s: %s lacks offsets %d to %d; filling it", self._delivery, rollup.name, first, last
        )
        token = token_of(self._rules.log_id, topic, partition, first, last)
        failpoint("before_fill")
        await self._delivery.deliver(
            lambda may_send: self._storage.fill(
                self._rules.base,
                rollup,
                partition=partition,
                first=first,
                last=last,
                token=f"{token}:{rollup.name}",
                may_send=may_send,
            ),
            intent,
        )
        failpoint("after_fill")
        self._note_filled()
        height = await self._height_in(rollup)
        if height is None or height < last:
            raise behind(str(self._delivery), rollup.name, f"still lacks offsets {first} to {last}")

    async def _height_in(self, rollup: Rollup) -> int | None:
        partition = self._where.partition
        heights = await self._delivery.patiently(
            lambda: self._storage.rollup_heights(rollup, [partition])
        )
        return heights.get(partition)

    async def _count_rows(self, block: Block) -> int:
        topic, partition = self._where
        count, _ = await self._delivery.patiently(
            lambda: self._storage.rows_between(
                self._rules.base, topic, partition, block.first, block.last
            )
        )
        return count

    def _behind(self, what: str) -> FaultError:
        return behind(str(self._delivery), self._rules.base.name, what)
