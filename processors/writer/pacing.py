"""When a block is inserted: at once on an idle partition, in larger blocks as the load grows.

In: what is gathered, what is still to be fetched, and the moments that matter, in seconds. Out: how
long to wait. Never: a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_ROWS = 100_000
BLOCK_BYTES = 48 * 1024 * 1024
# A block that could grow (there is more in the log) is waited for no longer than this.
GATHER_S = 0.25


@dataclass(frozen=True, slots=True)
class Gathered:
    """A block in the making: rows and bytes, since when, and whether the log has more."""

    rows: int
    bytes: int
    since: float
    more_in_log: bool

    @property
    def full(self) -> bool:
        """Whether the block is as large as it may be."""
        return self.rows >= BLOCK_ROWS or self.bytes >= BLOCK_BYTES


def wait_before_insert(
    gathered: Gathered, *, last_insert: float, inserts_per_second: int, now: float
) -> float:
    """Return how many seconds to wait before the block is inserted, 0 or less for not at all.

    The bound on inserts holds always: how long ClickHouse remembers tokens rests on it.
    """
    paced = last_insert + 1 / inserts_per_second - now
    if gathered.full or not gathered.more_in_log:
        return paced
    return max(paced, gathered.since + GATHER_S - now)
