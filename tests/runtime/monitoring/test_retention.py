"""Kafka's retention against what is still to be done."""

from __future__ import annotations

import math

import pytest

from runtime.monitoring.retention import Kept, in_words, is_in_danger, is_next_to_go, seconds_left

WEEK_S = 7 * 86_400
WEEK = Kept(1000 * WEEK_S, -1)
FOR_EVER = Kept(-1, -1)


def test_what_is_left_counts_from_the_receipt() -> None:
    now_ms = 1_700_000_000_000
    assert seconds_left(WEEK, now_ms, now_ms) == WEEK_S
    assert seconds_left(WEEK, now_ms - 86_400_000, now_ms) == 6 * 86_400
    assert seconds_left(WEEK, now_ms - 8 * 86_400_000, now_ms) == -86_400
    assert seconds_left(FOR_EVER, 0, now_ms) == math.inf


@pytest.mark.parametrize(
    ("share", "danger"), [(0.26, False), (0.25, False), (0.24, True), (-1, True)]
)
def test_the_last_quarter_is_danger(share: float, danger: bool) -> None:
    assert is_in_danger(WEEK, share * WEEK_S) is danger


def test_what_is_kept_for_ever_is_never_in_danger() -> None:
    assert not is_in_danger(FOR_EVER, seconds_left(FOR_EVER, 0, 1))


@pytest.mark.parametrize(
    ("size", "start", "next_", "danger"),
    [
        (-1, 1000, 1000, False),
        (5000, 0, 0, False),
        (5000, 1000, 1249, True),
        (5000, 1000, 1250, False),
        (5000, 1000, 2000, False),
    ],
)
def test_a_log_that_is_bound_by_size_drops_its_beginning(
    size: int, start: int, next_: int, danger: bool
) -> None:
    assert is_next_to_go(Kept(1, size), start=start, next_=next_, end=2000) is danger


def test_words() -> None:
    assert [in_words(each) for each in (200_000, 7200, 90, -5)] == [
        "2.3 days", "2.0 hours", "2 minutes", "0 minutes",
    ]  # fmt: skip
