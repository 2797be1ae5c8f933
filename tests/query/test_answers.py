"""The answers to the byte, in each format, and how durations are rounded."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.answers import Answer, encode_error, round_half_up, tell_counts, tell_sessions
from query.formats import accepted, write
from query.question import Format, Question
from query.statements.metrics import EventCount
from query.statements.sessions import SessionSum

DAY = "2025-01-01"
QUESTION = Question()


def in_json(answer: Answer) -> bytes:
    return write(answer, Format.JSON, {})


def test_metrics_to_the_byte() -> None:
    counts = [EventCount(DAY, "pause", 5), EventCount(DAY, "play", 24), EventCount(DAY, "stop", 22)]
    assert in_json(tell_counts(counts, QUESTION)) == (
        b'{"status":"success","data":[{"date":"2025-01-01","pause":5,"play":24,"stop":22}]}'
    )


def test_metrics_of_two_periods_and_of_none() -> None:
    counts = [EventCount(DAY, "日本", 1), EventCount("2025-02-01", 'a"b', 2)]
    answer = tell_counts(counts, QUESTION)
    assert in_json(answer).decode() == (
        '{"status":"success","data":[{"date":"2025-01-01","日本":1},{"date":"2025-02-01","a\\"b":2}]}'
    )
    assert write(answer, Format.NDJSON, {}).decode() == (
        '{"date":"2025-01-01","日本":1}\n{"date":"2025-02-01","a\\"b":2}\n'
    )
    assert write(answer, Format.CSV, {}).decode() == (
        '"date","a""b","日本"\n"2025-01-01",0,1\n"2025-02-01",2,0\n'
    )
    assert in_json(tell_counts([], QUESTION)) == b'{"status":"success","data":[]}'
    assert write(tell_counts([], QUESTION), Format.CSV, {}) == b'"date"\n'
    assert write(tell_counts([], QUESTION), Format.NDJSON, {}) == b""


def test_what_is_told_beside_the_data() -> None:
    answer = Answer(("date",), [{"date": DAY}])
    assert write(answer, Format.JSON, {"next": "1.2.3"}) == (
        b'{"status":"success","data":[{"date":"2025-01-01"}],"next":"1.2.3"}'
    )


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("", None),
        ("*/*", None),
        ("text/html,application/xhtml+xml,*/*;q=0.8", None),
        ("text/csv", Format.CSV),
        ("TEXT/CSV; header=present", Format.CSV),
        ("application/json, text/csv", Format.JSON),
        ("application/json;q=0.5, text/csv;q=0.9", Format.CSV),
        ("application/json;q=0, application/x-ndjson", Format.NDJSON),
        ("text/csv;q=high", None),
        ("text/csv;q=", None),
        (",;q=,;;", None),
    ],
)
def test_what_accept_asks_for(header: str, form: Format | None) -> None:
    assert accepted(header) is form


@given(st.text())
def test_any_accept_is_read(header: str) -> None:
    assert accepted(header) in {None, *Format}


def test_sessions_to_the_byte() -> None:
    assert in_json(tell_sessions([SessionSum(DAY, 15, 7_200_000)], QUESTION)) == (
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
    text = in_json(tell_sessions([SessionSum(DAY, sessions, duration_ms)], QUESTION)).decode()
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
