"""The answers to the byte, and how durations are rounded."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.answers import encode_error, encode_metrics, encode_sessions, round_half_up
from query.store import EventCount, SessionSum

DAY = date(2025, 1, 1)


def test_metrics_to_the_byte() -> None:
    counts = [EventCount(DAY, "pause", 5), EventCount(DAY, "play", 24), EventCount(DAY, "stop", 22)]
    assert encode_metrics(counts) == (
        b'{"status":"success","data":[{"date":"2025-01-01","pause":5,"play":24,"stop":22}]}'
    )


def test_metrics_of_two_periods_and_of_none() -> None:
    counts = [EventCount(DAY, "日本", 1), EventCount(date(2025, 2, 1), 'a"b', 2)]
    assert encode_metrics(counts).decode() == (
        '{"status":"success","data":[{"date":"2025-01-01","日本":1},{"date":"2025-02-01","a\\"b":2}]}'
    )
    assert encode_metrics([]) == b'{"status":"success","data":[]}'


def test_sessions_to_the_byte() -> None:
    assert encode_sessions([SessionSum(DAY, 15, 7_200_000)]) == (
        b'{"status":"success","data":[{"date":"2025-01-01","totalDuration":7200,'
        b'"sessionCount":15,"averageDuration":480}]}'
    )


@pytest.mark.parametrize(
    ("sessions", "duration_ms", "total", "average"),
    [
        (1, 499, 0, 0),
        (1, 500, 1, 1),
        (3, 1_499, 1, 0),
        (3, 1_500, 2, 1),
        (2, 2_999, 3, 1),
        (2, 3_000, 3, 2),
        (1, 0, 0, 0),
    ],
)
def test_the_average_is_rounded_from_the_unrounded_sum(
    sessions: int, duration_ms: int, total: int, average: int
) -> None:
    text = encode_sessions([SessionSum(DAY, sessions, duration_ms)]).decode()
    assert f'"totalDuration":{total},' in text
    assert f'"averageDuration":{average}}}' in text


@given(st.integers(0, 10**15), st.integers(1, 10**9))
def test_halves_are_rounded_upwards(numerator: int, denominator: int) -> None:
    exact = Decimal(numerator) / Decimal(denominator)
    if (2 * numerator) % denominator == 0:
        assert round_half_up(numerator, denominator) == exact.to_integral_value(ROUND_HALF_UP)
    assert abs(2 * (round_half_up(numerator, denominator) * denominator - numerator)) <= denominator


def test_an_error_to_the_byte() -> None:
    assert encode_error("invalid_date", "Invalid date format. Use YYYY-MM-DD") == (
        b'{"status":"error","code":"invalid_date","message":"Invalid date format. Use YYYY-MM-DD"}'
    )
