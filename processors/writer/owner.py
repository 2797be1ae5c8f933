"""The owner of one topic's partition: it brings the log into the table, one block at a time.

In: where the partition stands, and fetched records. Out: every row once in the base table and its
rollups. Never: an insert that was not announced; a range that depends on how it was fetched.

Read `run` first, then `_write`: announce the range, insert it under its token, and announce the
next one together with the commit of this one. `delivery` announces and sends, `checks` asks the
tables.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import TopicPartition

from contracts.tables import REJECTED_EVENTS
from processors.writer.blocks import Block, Buffer, Record, prefix_of
from processors.writer.checks import Checks
from processors.writer.commits import Commits, now_ms, now_s
from processors.writer.delivery import Delivery, GivenUpError
from processors.writer.failures import Failure, failure_of
from processors.writer.measures import Inserts
from processors.writer.pacing import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    Gathered,
    Turn,
    Turns,
    wait_before_insert,
)
from processors.writer.ranges import Intent, token_of
from processors.writer.refusals import find_refusals, refusal_lines
from processors.writer.rules import Rules
from processors.writer.standing import (
    FaultError,
    Standing,
    behind,
    doubtful_from,
    is_expired,
)
from processors.writer.storage import Storage
from runtime.clickhouse import ClickHouseError
from runtime.failpoints import failpoint

FAILPOINTS = (
    "before_intent",
    "after_intent",
    "before_send",
    "after_check",
    "after_insert",
    "before_plain_commit",
    "after_plain_commit",
    "before_redo",
    "after_redo",
    "after_refused",
    "after_refusals",
    "before_fill",
    "after_fill",
)
"""Where a test kills the writer."""

# ClickHouse remembers a token for an hour at the least; after this, heights decide.
TOKEN_TRUST_MS = 50 * 60 * 1000
_IDLE_COMMIT_S = 1.0

log = logging.getLogger(__name__)


class Owner:
    """The work on one partition, from its assignment to its revocation."""

    def __init__(
        self,
        where: TopicPartition,
        rules: Rules,
        standing: Standing,
        storage: Storage,
        commits: Commits,
        *,
        turns: Turns,
        inserts: Inserts,
    ) -> None:
        self.where = where
        self.rows_written = 0
        self._rules = rules
        self._standing = standing
        self._storage = storage
        self._turns = turns
        self._inserts = inserts
        self._under_way = False
        self._turn: Turn | None = None
        self._delivery = Delivery(
            where,
            commits,
            first=standing.first,
            session_s=rules.session_s,
            end_turn=self._end_turn,
            note_retry=inserts.note_retry,
        )
        self._checks = Checks(where, rules, storage, self._delivery, inserts.note_filled)
        self._topic = where.topic if rules.base.names_topic else None
        self._prefix = prefix_of(where.partition, self._topic)
        self.buffer = Buffer(self._prefix)
        self._since = 0.0
        self._read_until: int | None = None
        self.settled = asyncio.Event()
        doubtful = doubtful_from(standing)
        self.begins_at = standing.first if doubtful is None else doubtful
        self.position = self.begins_at
        self._log_end = standing.log_end

    def __str__(self) -> str:
        """The topic and the partition, for messages."""
        return str(self._delivery)

    @property
    def lag(self) -> int:
        """How many offsets lie between what is inserted and the log's end, as last seen.

        Behind the last row there may be transaction markers: they are read, but never inserted.
        """
        return max(0, self._log_end - self.next)

    @property
    def next(self) -> int:
        """The offset after what is inserted, and after the markers behind it that are read."""
        inserted = self._delivery.next
        if self._under_way or len(self.buffer):
            return inserted
        return max(inserted, self.position)

    @property
    def asking_since(self) -> float | None:
        """Since when ClickHouse has been asked for the last time, None while it is not."""
        return self._delivery.asking_since

    @property
    def waits_for_turn(self) -> bool:
        """Whether a block waits until another partition's insert has ended."""
        turn = self._turn
        return turn is not None and not self._turns.is_taken_by(turn)

    def wants(self, *, room: bool) -> bool:
        """Tell whether records should be fetched; `room` is whether memory allows more."""
        if self._read_until is not None:
            return self.position <= self._read_until
        full = len(self.buffer) >= BLOCK_ROWS or self.buffer.bytes >= BLOCK_BYTES
        return not full and (room or not len(self.buffer))

    def take(self, records: Sequence[Record], position: int, log_end: int | None) -> None:
        """Take fetched records; `position` is where the consumer stands after them.

        Raises:
            RuntimeError: they do not follow on what was handed over before.
        """
        if records:
            if records[0].offset < self.position or position <= records[-1].offset:
                raise RuntimeError(
                    f"{self}: offsets {records[0].offset} to {records[-1].offset} were fetched "
                    f"between the positions {self.position} and {position}"
                )
            if not len(self.buffer):
                self._since = now_s()
            self.buffer.add(records)
        self.position = position
        self._log_end = max(self._log_end, log_end or 0)
        self._delivery.woken.set()

    def stop(self) -> None:
        """Ask the owner to end after the attempt under way."""
        self._delivery.stop()

    async def run(self) -> None:
        """Own the partition until `stop`, or until something cannot go on.

        Raises:
            FaultError: table, log and offsets do not fit together.
            NoLongerOwnerError: the group went on without this process.
            ClickHouseError: ClickHouse refuses for a reason that no retry and no row changes.
        """
        try:
            await self._prove()
            await self._checks.fill_rollups_before(self._delivery.next, self._standing)
            if self._standing.intent is not None:
                await self._redo(self._standing.intent)
            self.settled.set()
            while (block := await self._next_block()) is not None:
                await self._write(block)
                self._end_turn()
            await self._delivery.commit()
        except GivenUpError:
            return
        finally:
            self._end_turn()

    # --- at the beginning -------------------------------------------------------------------------

    async def _prove(self) -> None:
        """Read the log between the table's highest offset and the committed one: nothing is there.

        Raises:
            FaultError: a record is there that the table lacks and would still keep.
        """
        last = self._standing.first - 1
        if self.begins_at > last:
            return
        for line in (await self._read_range(self.begins_at, last)).lines:
            if not is_expired(line, self._rules.kept_days, now_ms()):
                raise behind(
                    str(self),
                    self._rules.base.name,
                    f"has rows up to offset {self._standing.base}, but up to {last} "
                    "was committed and the log holds records between",
                )

    async def _redo(self, intent: Intent) -> None:
        """Insert the range of an intent again: whether it was inserted is not known."""
        block = await self._read_range(self._delivery.next, intent.end)
        failpoint("before_redo")
        if now_ms() - intent.since < TOKEN_TRUST_MS or not await self._checks.is_in_base(block):
            await self._write(block, since=intent.since, redo=True)
        else:
            await self._checks.require_whole(block, block, intent)
            self._finish(block)
        failpoint("after_redo")
        log.info("%s: offsets %d to %d inserted again", self, block.first, block.last)

    async def _read_range(self, first: int, last: int) -> Block:
        """Return all records from `first` to `last`, read to completion."""
        self._read_until = last
        while self.position <= last:
            await self._delivery.wait()
            if self._delivery.stopping:
                raise GivenUpError
        self._read_until = None
        return self.buffer.take_range(first, last)

    # --- block by block ---------------------------------------------------------------------------

    async def _next_block(self) -> Block | None:
        """Wait until a block is ready; None when the partition is to be given up."""
        while not self._delivery.stopping:
            if not len(self.buffer):
                await self._wait_idle()
                continue
            gathered = self._gathered()
            wait = wait_before_insert(
                gathered,
                self._delivery.began,
                inserts_per_second=self._rules.inserts_per_second,
                now=now_s(),
            )
            if gathered.large:
                self._end_turn()
            if wait > 0:
                await self._delivery.wait(wait)
            elif gathered.large or self._has_turn():
                self._since = now_s()
                self._under_way = True
                return self.buffer.take(self._delivery.next, BLOCK_ROWS, BLOCK_BYTES)
            else:
                await self._delivery.wait()
        return None

    def _gathered(self) -> Gathered:
        return Gathered(
            len(self.buffer), self.buffer.bytes, self._since, self._log_end - self.position
        )

    def _has_turn(self) -> bool:
        """Ask for a turn, if that was not done; tell whether it has come."""
        if self._turn is None:
            self._turn = self._turns.ask(self._gathered, self._delivery.woken.set)
        return self._turns.is_taken_by(self._turn)

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turns.end(self._turn)
            self._turn = None

    async def _wait_idle(self) -> None:
        """Wait for records; what was inserted is committed without them after a while."""
        await self._delivery.wait(_IDLE_COMMIT_S if self._delivery.dirty else None)
        if not len(self.buffer) and not self._delivery.woken.is_set():
            await self._delivery.commit()

    async def _write(self, block: Block, *, since: int | None = None, redo: bool = False) -> None:
        """Bring a block into the base table under the token of its range."""
        intent = Intent(end=block.last, since=since or now_ms())
        token = self._token(block)
        rows, began = block, now_s()
        try:
            sends = await self._insert(self._rules.base.name, rows, token, intent)
        except ClickHouseError as error:
            if failure_of(error) is not Failure.REFUSED:
                raise
            failpoint("after_refused")
            rows = await self._put_aside_refusals(block, token, intent)
            sends = (
                2
                if not rows.lines
                else 1 + await self._insert(self._rules.base.name, rows, token, intent)
            )
        failpoint("after_insert")
        if redo or sends > 1:
            await self._checks.require_whole(block, rows, intent)
        self._inserts.note(
            rows,
            refused=len(block.lines) - len(rows.lines),
            took_s=now_s() - began,
            now_ms=now_ms(),
        )
        self._finish(block)

    def _finish(self, block: Block) -> None:
        self._delivery.advance(block.last + 1)
        self._under_way = False
        self.rows_written += len(block.lines)

    async def _insert(self, table: str, block: Block, token: str, intent: Intent) -> int:
        """Insert a block; return how many sends it took. An empty block takes none."""
        if not block.lines:
            return 0
        body = block.body()
        return await self._delivery.deliver(
            lambda may_send: self._storage.insert(table, body, token, may_send), intent
        )

    def _token(self, block: Block) -> str:
        return token_of(
            self._rules.log_id, self.where.topic, self.where.partition, block.first, block.last
        )

    # --- rows that ClickHouse refuses -------------------------------------------------------------

    async def _put_aside_refusals(self, block: Block, token: str, intent: Intent) -> Block:
        """Keep the refused rows of a block in `rejected_events`; return the block less them.

        Raises:
            FaultError: no row is to blame.
        """
        refusals = await find_refusals(block, self._try_rows)
        if not refusals:
            raise FaultError(
                f"{self}: {self._rules.base.name} refused offsets {block.first} to {block.last}, "
                f"but {self._rules.base.twin} takes each row: a view fails, or the two have "
                "different columns. Make them again as deploy/clickhouse has them."
            )
        log.warning(
            "%s: ClickHouse refused %d rows, the first: %s", self, len(refusals), refusals[0]
        )
        lines = refusal_lines(
            block,
            refusals,
            prefix=self._prefix,
            topic=self.where.topic,
            partition=self.where.partition,
        )
        await self._insert(REJECTED_EVENTS.name, lines, f"{token}:refused", intent)
        failpoint("after_refusals")
        refused = {refusal.index for refusal in refusals}
        return block.only([i for i in range(len(block.lines)) if i not in refused])

    async def _try_rows(self, block: Block) -> str | None:
        """Return why the twin refuses rows, or None if it takes them."""
        body = block.body()
        try:
            await self._delivery.patiently(lambda: self._storage.try_rows(self._rules.base, body))
        except ClickHouseError as error:
            if failure_of(error) is not Failure.REFUSED:
                raise
            return str(error).partition(" (for url")[0]
        return None
