"""The owner of one topic's partition: it brings the log into the table, one block at a time.

In: where the partition stands, and fetched records. Out: every row once in the base table and its
rollups. Never: an insert that was not announced; a range that depends on how it was fetched.

Read `run` first, then `_write`: announce the range, insert it under its token, and announce the
next one together with the commit of this one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from aiokafka import TopicPartition

from contracts.tables import REJECTED_EVENTS, BaseTable, Rollup
from processors.writer.blocks import Block, Buffer, Record, prefix_of
from processors.writer.commits import Commits, now_s
from processors.writer.connections import NotSentError, SentOnceError
from processors.writer.failures import Failure, failure_of
from processors.writer.pacing import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    Gathered,
    Turn,
    Turns,
    wait_before_insert,
)
from processors.writer.ranges import Intent, encode_intent, token_of
from processors.writer.refusals import find_refusals, refusal_lines
from processors.writer.standing import (
    Standing,
    behind,
    doubtful_from,
    is_expired,
    missing_in_rollup,
)
from processors.writer.storage import Storage
from runtime.clickhouse import ClickHouseError
from runtime.failpoints import failpoint

FAILPOINTS = (
    "before_intent",
    "after_intent",
    "before_send",
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
# An insert may take this share of the session time-out to begin after its announcement.
_SESSION_SHARE = 0.8
_IDLE_COMMIT_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Send = Callable[[Callable[[], bool]], Awaitable[None]]


class GivenUpError(Exception):
    """The partition is given up before the block was inserted; its intent stays for the next."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every owner of a topic's partitions."""

    log_id: str
    base: BaseTable
    kept_days: int
    inserts_per_second: int
    session_s: float


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
    ) -> None:
        self.where = where
        self.rows_written = 0
        self._rules = rules
        self._standing = standing
        self._storage = storage
        self._commits = commits
        self._turns = turns
        self._turn: Turn | None = None
        self._topic = where.topic if rules.base.names_topic else None
        self._prefix = prefix_of(where.partition, self._topic)
        self.buffer = Buffer(self._prefix)
        self._next = standing.first
        self._dirty = False
        self._insert_began = now_s()
        self._since = 0.0
        self._read_until: int | None = None
        self._stopping = False
        self._woken = asyncio.Event()
        self.settled = asyncio.Event()
        doubtful = doubtful_from(standing)
        self.begins_at = self._next if doubtful is None else doubtful
        self.position = self.begins_at
        self._log_end = standing.log_end

    def __str__(self) -> str:
        """The topic and the partition, for messages."""
        return f"{self.where.topic}/{self.where.partition}"

    @property
    def lag(self) -> int:
        """How many offsets lie between what is inserted and the log's end, as last seen.

        Behind the last row there may be transaction markers: they are read, but never inserted.
        """
        inserted = self._next if len(self.buffer) else max(self._next, self.position)
        return max(0, self._log_end - inserted)

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
        self._woken.set()

    def stop(self) -> None:
        """Ask the owner to end after the attempt under way."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Own the partition until `stop`, or until something cannot go on.

        Raises:
            FaultError: table, log and offsets do not fit together.
            NoLongerOwnerError: the group went on without this process.
            ClickHouseError: ClickHouse refuses for a reason that no retry and no row changes.
        """
        try:
            await self._prove()
            await self._fill_rollups_before(self._next)
            if self._standing.intent is not None:
                await self._redo(self._standing.intent)
            self.settled.set()
            while (block := await self._next_block()) is not None:
                await self._write(block)
                self._end_turn()
            await self._commit_position()
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
        if self.begins_at == self._next:
            return
        for line in (await self._read_range(self.begins_at, self._next - 1)).lines:
            if not is_expired(line, self._rules.kept_days, _now_ms()):
                raise behind(
                    str(self),
                    self._rules.base.name,
                    f"has rows up to offset {self._standing.base}, but up to {self._next - 1} "
                    "was committed and the log holds records between",
                )

    async def _redo(self, intent: Intent) -> None:
        """Insert the range of an intent again: whether it was inserted is not known."""
        block = await self._read_range(self._next, intent.end)
        failpoint("before_redo")
        if _now_ms() - intent.since < TOKEN_TRUST_MS or not await self._is_in_base(block):
            await self._write(block, since=intent.since, redo=True)
        else:
            await self._check(block, block, intent)
            self._finish(block)
        failpoint("after_redo")
        log.info("%s: offsets %d to %d inserted again", self, block.first, block.last)

    async def _is_in_base(self, block: Block) -> bool:
        """Tell whether an old range is in the base table wholly, or not at all.

        Raises:
            FaultError: a part of it is there.
        """
        count, _ = await self._patiently(lambda: self._rows_between(block))
        if count in (0, len(block.lines)):
            return count > 0
        raise behind(
            str(self),
            self._rules.base.name,
            f"has {count} of {len(block.lines)} rows of offsets {block.first} to {block.last}, "
            "whose token ClickHouse may have forgotten",
        )

    async def _read_range(self, first: int, last: int) -> Block:
        """Return all records from `first` to `last`, read to completion."""
        self._read_until = last
        while self.position <= last:
            await self._wake(None)
            if self._stopping:
                raise GivenUpError
        self._read_until = None
        return self.buffer.take_range(first, last)

    # --- block by block ---------------------------------------------------------------------------

    async def _next_block(self) -> Block | None:
        """Wait until a block is ready; None when the partition is to be given up."""
        while not self._stopping:
            if not len(self.buffer):
                await self._wait_idle()
                continue
            gathered = self._gathered()
            wait = wait_before_insert(
                gathered,
                self._insert_began,
                inserts_per_second=self._rules.inserts_per_second,
                now=now_s(),
            )
            if gathered.large:
                self._end_turn()
            if wait > 0:
                await self._wake(wait)
            elif gathered.large or self._has_turn():
                self._since = now_s()
                return self.buffer.take(self._next, BLOCK_ROWS, BLOCK_BYTES)
            else:
                await self._wake(None)
        return None

    def _gathered(self) -> Gathered:
        return Gathered(
            len(self.buffer), self.buffer.bytes, self._since, self._log_end - self.position
        )

    def _has_turn(self) -> bool:
        """Ask for a turn, if that was not done; tell whether it has come."""
        if self._turn is None:
            self._turn = self._turns.ask(self._gathered, self._woken.set)
        return self._turns.is_taken_by(self._turn)

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turns.end(self._turn)
            self._turn = None

    async def _wait_idle(self) -> None:
        """Wait for records; what was inserted is committed without them after a while."""
        await self._wake(_IDLE_COMMIT_S if self._dirty else None)
        if not len(self.buffer) and self._dirty and not self._woken.is_set():
            await self._commit_position()

    async def _wake(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _write(self, block: Block, *, since: int | None = None, redo: bool = False) -> None:
        """Bring a block into the base table under the token of its range."""
        intent = Intent(end=block.last, since=since or _now_ms())
        token = self._token(block)
        rows = block
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
            await self._check(block, rows, intent)
        self._finish(block)

    def _finish(self, block: Block) -> None:
        self._next = block.last + 1
        self._dirty = True
        self.rows_written += len(block.lines)

    async def _commit_position(self) -> None:
        if self._dirty:
            failpoint("before_plain_commit")
            await self._commits.commit(self.where, self._next)
            self._dirty = False
            failpoint("after_plain_commit")

    async def _insert(self, table: str, block: Block, token: str, intent: Intent) -> int:
        """Insert a block; return how many sends it took. An empty block takes none."""
        if not block.lines:
            return 0
        body = block.body()
        return await self._deliver(
            lambda may_send: self._storage.insert(table, body, token, may_send), intent
        )

    async def _deliver(self, send: Send, intent: Intent | None) -> int:
        """Announce and send until ClickHouse has said yes; return how often it was sent.

        Raises:
            ClickHouseError: an error that is not transient.
            GivenUpError: the partition is to be given up.
        """
        sends, pause_s = 0, _FIRST_PAUSE_S
        while True:
            may_send = await self._announce(intent)
            self._insert_began = now_s()
            try:
                await send(may_send)
            except NotSentError:
                if self._stopping:
                    raise GivenUpError from None
                log.info("%s: the announcement had grown old; it is made again", self)
            except (ClickHouseError, SentOnceError) as error:
                sends += 1
                self._require_transient(error)
                log.warning("%s: ClickHouse does not take it now, trying again: %s", self, error)
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return sends + 1
            if self._stopping:
                raise GivenUpError

    async def _announce(self, intent: Intent | None) -> Callable[[], bool]:
        """Commit the intent; return the question that is asked right before the send."""
        failpoint("before_intent")
        metadata = "" if intent is None else encode_intent(intent)
        owned_since = await self._commits.commit(self.where, self._next, metadata)
        self._dirty = False
        failpoint("after_intent")
        deadline = owned_since + _SESSION_SHARE * self._rules.session_s

        def may_send() -> bool:
            failpoint("before_send")
            return not self._stopping and now_s() < deadline

        return may_send

    async def _patiently(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Do what changes nothing in ClickHouse, again and again while the error is transient."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await work()
            except (ClickHouseError, SentOnceError) as error:
                self._require_transient(error)
                log.warning("%s: ClickHouse does not answer, asking again: %s", self, error)
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if self._stopping:
                raise GivenUpError

    @staticmethod
    def _require_transient(error: ClickHouseError | SentOnceError) -> None:
        if isinstance(error, ClickHouseError) and failure_of(error) is not Failure.TRANSIENT:
            raise error

    async def _pause(self, pause_s: float) -> None:
        """Wait, out of turn; a partition that is to be given up waits no longer."""
        self._end_turn()
        deadline = now_s() + pause_s
        while not self._stopping and (left := deadline - now_s()) > 0:
            await self._wake(left)

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
            raise behind(
                str(self),
                self._rules.base.name,
                f"refused offsets {block.first} to {block.last}, but its twin takes each row: "
                "a view fails, or the twin has other columns; this is a fault of the tables",
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
            await self._patiently(lambda: self._storage.try_rows(self._rules.base, body))
        except ClickHouseError as error:
            if failure_of(error) is not Failure.REFUSED:
                raise
            return str(error).partition(" (for url")[0]
        return None

    # --- whether every table has what was inserted ------------------------------------------------

    async def _check(self, block: Block, rows: Block, intent: Intent) -> None:
        """Ask every table for the rows of a block, `rows` being those not refused.

        A rollup that lacks the block is filled from the base table.

        Raises:
            FaultError: the base table lacks rows, or a rollup still does.
        """
        await self._check_base(block, rows)
        if rows.lines:
            last = rows.offsets[-1]
            for rollup in self._rules.base.rollups:
                height = await self._height_in(rollup)
                missing = missing_in_rollup(height, last)
                if missing is not None:
                    await self._fill(rollup, max(missing[0], block.first), last, intent)

    async def _check_base(self, block: Block, rows: Block) -> None:
        # Refused rows lie in the same table where it is `rejected_events` itself.
        expected = block if self._rules.base.names_topic else rows
        count, _ = await self._patiently(lambda: self._rows_between(block))
        if count == len(expected.lines):
            return
        days, now_ms = self._rules.kept_days, _now_ms()
        kept = sum(not is_expired(line, days, now_ms) for line in expected.lines)
        if not kept <= count <= len(expected.lines):
            raise behind(
                str(self),
                self._rules.base.name,
                f"has {count} rows of offsets {block.first} to {block.last}, which hold "
                f"{len(expected.lines)}",
            )

    async def _fill_rollups_before(self, end: int) -> None:
        """Fill each rollup that lacks rows of the base table before an offset."""
        if not self._standing.lags_in_rollups or end == 0:
            return
        partition = self.where.partition
        _, base_before = await self._patiently(
            lambda: self._storage.rows_between(
                self._rules.base, self.where.topic, partition, 0, end - 1
            )
        )
        for rollup in self._rules.base.rollups:
            missing = missing_in_rollup(self._standing.rollups[rollup.name], base_before)
            if missing is not None:
                await self._fill(rollup, *missing, self._standing.intent)

    async def _fill(self, rollup: Rollup, first: int, last: int, intent: Intent | None) -> None:
        """Fill a range of offsets into a rollup, and ask it again.

        Raises:
            FaultError: it is still behind.
        """
        log.warning("%s: %s lacks offsets %d to %d; filling it", self, rollup.name, first, last)
        token = token_of(self._rules.log_id, self.where.topic, self.where.partition, first, last)
        failpoint("before_fill")
        await self._deliver(
            lambda may_send: self._storage.fill(
                self._rules.base,
                rollup,
                partition=self.where.partition,
                first=first,
                last=last,
                token=f"{token}:{rollup.name}",
                may_send=may_send,
            ),
            intent,
        )
        failpoint("after_fill")
        height = await self._height_in(rollup)
        if height is None or height < last:
            raise behind(str(self), rollup.name, f"still lacks offsets {first} to {last}")

    async def _height_in(self, rollup: Rollup) -> int | None:
        partition = self.where.partition
        heights = await self._patiently(lambda: self._storage.rollup_heights(rollup, [partition]))
        return heights.get(partition)

    async def _rows_between(self, block: Block) -> tuple[int, int | None]:
        return await self._storage.rows_between(
            self._rules.base, self.where.topic, self.where.partition, block.first, block.last
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
