"""Which days are exported, by the rules alone."""

from __future__ import annotations

from datetime import date

import pytest

from cli.parquet.days import State, begins_ms, judge_days

DAY = date(2025, 1, 18)
NEXT = begins_ms(date(2025, 1, 19))
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
BEGUN_TO_EXPIRE = begins_ms(DAY) + 30 * DAY_MS


@pytest.mark.parametrize(
    ("rows", "exported", "settled_ms", "now_ms", "state"),
    [
        # Over, and everything is in the table: to the millisecond.
        (5, None, NEXT, NEXT, State.NEW),
        (5, None, NEXT - 1, NEXT, State.NOT_SETTLED),
        (5, None, NEXT - 1, NEXT + DAY_MS, State.NOT_SETTLED),
        # It has been exported.
        (5, 5, NEXT, NEXT, State.EXPORTED),
        (6, 5, NEXT, NEXT, State.CHANGED),
        (4, 5, NEXT, NEXT, State.CHANGED),
        (6, 5, NEXT - 1, NEXT, State.NOT_SETTLED),
        # What a lag of today holds up is not what was exported before.
        (5, 5, 0, NEXT, State.EXPORTED),
        # An hour before its first row may expire it is too late.
        (5, None, NEXT, BEGUN_TO_EXPIRE - HOUR_MS - 1, State.NEW),
        (5, None, NEXT, BEGUN_TO_EXPIRE - HOUR_MS, State.EXPIRING),
        (4, 5, NEXT, BEGUN_TO_EXPIRE - HOUR_MS, State.EXPORTED),
        (6, 5, NEXT, BEGUN_TO_EXPIRE + DAY_MS, State.EXPORTED),
    ],
)
def test_a_day_is_judged(
    rows: int, exported: int | None, settled_ms: int, now_ms: int, state: State
) -> None:
    known = {} if exported is None else {DAY: exported}
    judged = judge_days({DAY: rows}, known, settled_ms=settled_ms, now_ms=now_ms, days_kept=30)
    assert judged == {DAY: state}


def test_what_is_kept_for_ever_never_expires() -> None:
    judged = judge_days({DAY: 5}, {}, settled_ms=NEXT, now_ms=NEXT * 2, days_kept=0)
    assert judged == {DAY: State.NEW}


def test_days_come_in_their_order_and_empty_ones_not_at_all() -> None:
    days = [date(2025, 1, 20), DAY]
    judged = judge_days(
        dict.fromkeys(days, 1), {date(2025, 1, 19): 7},
        settled_ms=NEXT * 2, now_ms=NEXT, days_kept=30,
    )  # fmt: skip
    assert list(judged) == [DAY, days[0]]


def test_only_what_is_new_or_changed_is_due() -> None:
    assert {state for state in State if state.is_due} == {State.NEW, State.CHANGED}
