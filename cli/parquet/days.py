"""Which days are to be exported: the rules, without ClickHouse or Kafka.

In: how many rows each day has now, what was exported, until when everything received is in the
table, for how long it is kept. Out: what is to be done with each day. Never: a clock.

- A day is exported when it is over and everything that was received on it is in the table.
- From the moment on at which its first rows may expire, nobody can tell whether it is whole: then
  what was exported stays, and what was not is lost.
- Until then a day whose number of rows is not what was exported has changed: rows came late, or a
  repair has put some in or taken some out. It is exported again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum

from contracts.timestamps import DAY_MS

# Between the question and the end of the export; ClickHouse drops what has expired within minutes.
_SPARE_MS = 3_600_000
_ONE_DAY = timedelta(days=1)


class State(Enum):
    """What is to be done with a day."""

    EXPORTED = "exported"
    NEW = "new"
    CHANGED = "changed"
    NOT_SETTLED = "not settled"
    EXPIRING = "expiring"

    @property
    def is_due(self) -> bool:
        """Whether the day is to be exported now."""
        return self in (State.NEW, State.CHANGED)


def judge_days(
    rows: Mapping[date, int],
    exported: Mapping[date, int],
    *,
    settled_ms: int,
    now_ms: int,
    days_kept: int,
) -> dict[date, State]:
    """Return what is to be done with each day that has rows, in order.

    Args:
        rows: how many rows the table has of each day.
        exported: how many rows of each day were exported.
        settled_ms: what was received before it is in the table (ms since 1970).
        now_ms: the present.
        days_kept: for how many days from its receipt a row is kept; 0 = for ever.
    """
    states = {}
    for day in sorted(rows):
        known = exported.get(day)
        if not is_whole(day, now_ms + _SPARE_MS, days_kept):
            states[day] = State.EXPIRING if known is None else State.EXPORTED
        elif rows[day] == known:
            states[day] = State.EXPORTED
        elif settled_ms < begins_ms(day + _ONE_DAY):
            states[day] = State.NOT_SETTLED
        else:
            states[day] = State.NEW if known is None else State.CHANGED
    return states


def is_whole(day: date, now_ms: int, days_kept: int) -> bool:
    """Tell whether no row of a day can have expired."""
    return not days_kept or now_ms < begins_ms(day) + days_kept * DAY_MS


def begins_ms(day: date) -> int:
    """Return the first moment of a day (UTC), in ms since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
