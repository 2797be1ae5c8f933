"""How long Kafka still keeps what is not done yet, and when to warn.

In: a topic's real settings, when its oldest record that is not done was received, the moment. Out:
seconds, and whether data is in danger. Never: a clock, a connection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from contracts.topics import DAY_MS

WARN_AT_SHARE = 0.25
_FOR_EVER = -1


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long and up to which size Kafka keeps a topic's partition; -1 = without limit."""

    ms: int
    bytes: int

    @property
    def seconds(self) -> float:
        """For how long records are kept."""
        return math.inf if self.ms == _FOR_EVER else self.ms / 1000

    @property
    def is_bound_by_size(self) -> bool:
        """Whether records may be dropped before their time, when others come."""
        return self.bytes != _FOR_EVER


def seconds_left(kept: Kept, received_ms: int, now_ms: int) -> float:
    """Return for how long a record received then is still kept; below 0 it may be gone."""
    return kept.seconds - (now_ms - received_ms) / 1000


def is_in_danger(kept: Kept, left_s: float) -> bool:
    """Tell whether less than a quarter of the time is left."""
    return left_s < WARN_AT_SHARE * kept.seconds


def is_next_to_go(kept: Kept, *, start: int, next_: int, end: int) -> bool:
    """Tell whether a size-bound log is about to drop what is not done.

    It drops from its beginning, as it has done before if it does not begin at 0; the offset is in
    danger in the first quarter.
    """
    return (
        kept.is_bound_by_size
        and start > 0
        and next_ < end
        and next_ - start < WARN_AT_SHARE * (end - start)
    )


def in_words(seconds: float) -> str:
    """Return a time for people.

    >>> in_words(200_000), in_words(7200), in_words(90), in_words(-5)
    ('2.3 days', '2.0 hours', '2 minutes', '0 minutes')
    """
    if seconds >= DAY_MS / 1000:
        return f"{seconds / 86_400:.1f} days"
    return (
        f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(0, seconds) / 60:.0f} minutes"
    )
