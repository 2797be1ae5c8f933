"""When a block is inserted: at once on an idle partition, in larger blocks as the load grows.

In: what is gathered, what is still to be fetched, and the moments that matter, in seconds. Out: how
long to wait. Never: a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_ROWS = 100_000
BLOCK_BYTES = 48 * 1024 * 1024
# A block that could grow much (so many more offsets are in the log) is waited for, but no longer
# than this: whoever catches up does it in large blocks.
MUCH_MORE = 2_000
GATHER_S = 0.25


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


# An insert of few rows costs ClickHouse as much as one of many, so the next begins several times as
# long after the last as that one took: at once on a machine at rest, in larger blocks under load.
PACE_FACTOR = 5.0
MOST_BETWEEN_S = 0.4


@dataclass(frozen=True, slots=True)
class LastInsert:
    """When the last insert of a partition began, and how long it took."""

    began: float
    took_s: float = 0.0


def wait_before_insert(
    gathered: Gathered, last: LastInsert, *, inserts_per_second: int, now: float
) -> float:
    """Return how many seconds to wait before the block is inserted, 0 or less for not at all.

    The bound on inserts holds always: how long ClickHouse remembers tokens rests on it.
    """
    bound = last.began + 1 / inserts_per_second - now
    if gathered.full:
        return bound
    if gathered.more_in_log >= MUCH_MORE:
        return max(bound, gathered.since + GATHER_S - now)
    return max(bound, last.began + min(MOST_BETWEEN_S, PACE_FACTOR * last.took_s) - now)
