"""How one partition sends to ClickHouse: announced before every attempt, for as long as it takes.

In: what to send, and the intent that announces it. Out: how many sends it took until ClickHouse
said yes. Never: a send that was not announced, or whose announcement has grown old; a second try of
what ClickHouse will never take.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka import TopicPartition

from processors.writer.commits import Commits, now_s
from processors.writer.connections import NotSentError, SentOnceError
from processors.writer.failures import Failure, failure_of
from processors.writer.ranges import Intent, encode_intent
from runtime.clickhouse import ClickHouseError
from runtime.failpoints import failpoint

# An insert may take this share of the session time-out to begin after its announcement.
_SESSION_SHARE = 0.8
# An attempt has a time-out of 90 s, after a wait for one of a few connections.
_ANSWER_WITHIN_S = 120.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Send = Callable[[Callable[[], bool]], Awaitable[None]]


class GivenUpError(Exception):
    """The partition is given up before the block was inserted; its intent stays for the next."""


class Delivery:
    """The commits and sends of one partition, from its assignment to its revocation.

    Attributes:
        next: the offset after everything that was inserted.
        dirty: whether `next` is yet to be committed.
        began: when the last attempt of an insert began.
        stopping: whether the partition is to be given up.
        woken: set when there is something new to look at.
        asking_since: since when ClickHouse has been asked for the last time, None while it is not.
    """

    def __init__(
        self,
        where: TopicPartition,
        commits: Commits,
        *,
        first: int,
        session_s: float,
        end_turn: Callable[[], None],
        note_retry: Callable[[], None],
    ) -> None:
        """Begin at an offset.

        `end_turn` is called before a pause, which is nobody's turn; `note_retry` when ClickHouse
        did not answer a send with yes.
        """
        self.next = first
        self.dirty = False
        self.began = now_s()
        self.stopping = False
        self.woken = asyncio.Event()
        self.asking_since: float | None = None
        self._where = where
        self._commits = commits
        self._session_s = session_s
        self._end_turn = end_turn
        self._note_retry = note_retry

    def __str__(self) -> str:
        """The topic and the partition, for messages."""
        return f"{self._where.topic}/{self._where.partition}"

    def stop(self) -> None:
        """Give up after the attempt under way."""
        self.stopping = True
        self.woken.set()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until there is something new, or for so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.woken.wait()
        except TimeoutError:
            return
        self.woken.clear()

    def advance(self, after: int) -> None:
        """Note that everything before an offset is inserted; the next commit says so."""
        self.next = after
        self.dirty = True

    async def commit(self) -> None:
        """Commit what is inserted, where that is not done yet."""
        if self.dirty:
            failpoint("before_plain_commit")
            await self._commits.commit(self._where, self.next)
            self.dirty = False
            failpoint("after_plain_commit")

    async def deliver(self, send: Send, intent: Intent | None) -> int:
        """Announce and send until ClickHouse has said yes; return how often it was sent.

        Raises:
            ClickHouseError: an error that is not transient.
            GivenUpError: the partition is to be given up.
        """
        sends, pause_s = 0, _FIRST_PAUSE_S
        while True:
            may_send = await self._announce(intent)
            self.began = self.asking_since = now_s()
            try:
                await send(may_send)
            except NotSentError:
                if self.stopping:
                    raise GivenUpError from None
                log.info("%s: the announcement had grown old; it is made again", self)
            except (ClickHouseError, SentOnceError) as error:
                sends += 1
                self._note_retry()
                _require_transient(error)
                log.warning("%s: ClickHouse does not take it now, trying again: %s", self, error)
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self.asking_since = None
                return sends + 1
            if self.stopping:
                raise GivenUpError

    async def patiently(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Do what changes nothing in ClickHouse, again and again while the error is transient.

        Raises:
            ClickHouseError: an error that is not transient.
            GivenUpError: the partition is to be given up.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            self.asking_since = now_s()
            try:
                answer = await work()
            except (ClickHouseError, SentOnceError) as error:
                _require_transient(error)
                log.warning("%s: ClickHouse does not answer, asking again: %s", self, error)
            else:
                self.asking_since = None
                return answer
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if self.stopping:
                raise GivenUpError

    async def _announce(self, intent: Intent | None) -> Callable[[], bool]:
        """Commit the intent; return the question that is asked right before the send."""
        failpoint("before_intent")
        metadata = "" if intent is None else encode_intent(intent)
        owned_since = await self._commits.commit(self._where, self.next, metadata)
        self.dirty = False
        failpoint("after_intent")
        deadline = owned_since + _SESSION_SHARE * self._session_s

        def may_send() -> bool:
            failpoint("before_send")
            is_in_time = not self.stopping and now_s() < deadline
            failpoint("after_check")
            return is_in_time

        return may_send

    async def _pause(self, pause_s: float) -> None:
        """Wait, out of turn; a partition that is to be given up waits no longer."""
        self._end_turn()
        deadline = now_s() + pause_s
        while not self.stopping and (left := deadline - now_s()) > 0:
            await self.wait(left)


def is_asking(since: float | None, now: float) -> bool:
    """Tell whether ClickHouse may still answer what it was asked: one answer has a time-out."""
    return since is not None and now - since < _ANSWER_WITHIN_S


def _require_transient(error: ClickHouseError | SentOnceError) -> None:
    if isinstance(error, ClickHouseError) and failure_of(error) is not Failure.TRANSIENT:
        raise error
