"""When a block is inserted: at once on a machine at rest, in larger blocks as the load grows.

In: what is gathered, what is still to be fetched, and the moments that matter, in seconds. Out: how
long to wait, and whose turn it is. Never: a clock of its own.

An insert of few rows costs ClickHouse as much as one of many. So small blocks take turns: one is
inserted at a time, with a pause after it, and meanwhile the others grow. Whoever catches up, or has
a full block, goes beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BLOCK_ROWS = 100_000
BLOCK_BYTES = 48 * 1024 * 1024
# A block that could grow much (so many more offsets are in the log) is waited for, but no longer
# than this: whoever catches up does it in large blocks.
MUCH_MORE = 2_000
GATHER_S = 0.25

# The pause after a turn, in units of the time that the turn took, and its bound.
PAUSE_FACTOR = 0.5
LONGEST_PAUSE_S = 0.4
# Rows that have waited so long go before all others.
LONG_S = 0.4


@dataclass(frozen=True, slots=True)
class Gathered:
    """A block in the making: rows and bytes, since when, and how many offsets the log has more."""

    rows: int
    bytes: int
    since: float
    more_in_log: int

    @property
    def full(self) -> bool:
        """Whether the block is as large as it may be."""
        return self.rows >= BLOCK_ROWS or self.bytes >= BLOCK_BYTES

    @property
    def large(self) -> bool:
        """Whether the block needs no turn: its cost is that of its rows."""
        return self.full or self.more_in_log >= MUCH_MORE


def wait_before_insert(
    gathered: Gathered, began: float, *, inserts_per_second: int, now: float
) -> float:
    """Return how many seconds to wait before the block may be inserted, 0 or less for not at all.

    The bound on inserts holds always: how long ClickHouse remembers tokens rests on it.

    Args:
        gathered: the block in the making.
        began: when the last insert of the partition began.
        inserts_per_second: the most inserts of a partition in a second.
        now: the moment of the question.
    """
    bound = began + 1 / inserts_per_second - now
    if gathered.large and not gathered.full:
        return max(bound, gathered.since + GATHER_S - now)
    return bound


@dataclass(frozen=True, eq=False, slots=True)
class Turn:
    """One partition's wait for its turn, and the turn itself."""

    gathered: Callable[[], Gathered]
    granted: Callable[[], None]


class Turns:
    """The turns of all partitions of a process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: list[Turn] = []
        self._taken: Turn | None = None
        self._taken_at = self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, gathered: Callable[[], Gathered], granted: Callable[[], None]) -> Turn:
        """Queue up; `granted` is called when the turn has come, maybe at once.

        Args:
            gathered: tells what would be inserted, asked when a turn is given.
            granted: called once, unless the turn is ended before.
        """
        turn = Turn(gathered, granted)
        self._waiting.append(turn)
        self._deal()
        return turn

    def end(self, turn: Turn) -> None:
        """End a turn, or the wait for it; a second time does nothing."""
        if self._taken is turn:
            now = self._clock()
            pause_s = min(LONGEST_PAUSE_S, PAUSE_FACTOR * (now - self._taken_at))
            self._taken, self._free_at = None, now + pause_s
        elif turn in self._waiting:
            self._waiting.remove(turn)
        self._deal()

    def is_taken_by(self, turn: Turn) -> bool:
        """Whether the turn has come, and has not ended."""
        return self._taken is turn

    def _deal(self) -> None:
        if self._taken is not None or not self._waiting:
            return
        now = self._clock()
        if now < self._free_at:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(
                    self._free_at - now, self._deal_later
                )
            return
        turn = self._waiting.pop(next_turn([each.gathered() for each in self._waiting], now))
        self._taken, self._taken_at = turn, now
        turn.granted()

    def _deal_later(self) -> None:
        self._timer = None
        self._deal()


def next_turn(waiting: Sequence[Gathered], now: float) -> int:
    """Return whose turn is next: the one whose rows have waited longest in sum.

    So a partition with a hundred times the rows gets ten times the turns, which makes the waits of
    all rows together the shortest. Rows that have waited long go first, the longest before all.
    """
    longest = min(range(len(waiting)), key=lambda i: waiting[i].since)
    if now - waiting[longest].since >= LONG_S:
        return longest
    return max(range(len(waiting)), key=lambda i: waiting[i].rows * (now - waiting[i].since))
