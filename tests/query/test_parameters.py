"""What may be asked, and how each wrong question is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.parameters import Code, Grouping, Question, Refusal, parse_question

DATES = {"start_date": "2025-01-01", "end_date": "2025-01-31"}


def test_the_least_that_is_needed() -> None:
    assert parse_question(DATES) == Question(date(2025, 1, 1), date(2025, 1, 31))


def test_everything() -> None:
    asked = {**DATES, "group_by": "week", "user_id": "a\0😀", "timezone": "Europe/Berlin", "x": "y"}
    assert parse_question(asked) == Question(
        date(2025, 1, 1), date(2025, 1, 31), Grouping.WEEK, "a\0😀", "Europe/Berlin"
    )


@pytest.mark.parametrize("absent", ["start_date", "end_date"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_date_is_missing(absent: str, value: str | None) -> None:
    asked = {name: text for name, text in DATES.items() if name != absent}
    if value is not None:
        asked[absent] = value
    assert parse_question(asked) == Refusal(
        Code.MISSING_DATE, "start_date and end_date are required"
    )


@pytest.mark.parametrize(
    "text",
    ["2024-1-1", "2024-02-30", "20240101", "2024-W01-1", "2024-01-01T00:00:00", " 2024-01-01",
     "2024-01-01\n", "٢٠٢٤-٠١-٠١", "0000-01-01", "yesterday"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["start_date", "end_date"])
def test_a_date_is_malformed_or_impossible(name: str, text: str) -> None:
    assert parse_question({**DATES, name: text}) == Refusal(
        Code.INVALID_DATE, "Invalid date format. Use YYYY-MM-DD"
    )


@pytest.mark.parametrize(
    ("changed", "code", "named"),
    [
        ({"end_date": "2024-12-31"}, Code.INVALID_RANGE, "end_date"),
        ({"group_by": "year"}, Code.INVALID_GROUP_BY, "group_by must be day, week or month"),
        ({"group_by": "DAY"}, Code.INVALID_GROUP_BY, "group_by must be day, week or month"),
        ({"group_by": ""}, Code.INVALID_GROUP_BY, "group_by must be day, week or month"),
        ({"timezone": ""}, Code.INVALID_TIMEZONE, "timezone"),
        ({"timezone": "Mars/Olympus"}, Code.INVALID_TIMEZONE, "timezone"),
        ({"timezone": "../../etc/passwd"}, Code.INVALID_TIMEZONE, "timezone"),
        ({"timezone": "localtime"}, Code.INVALID_TIMEZONE, "timezone"),
        ({"user_id": ""}, Code.INVALID_USER_ID, "user_id"),
        ({"user_id": "x" * 257}, Code.INVALID_USER_ID, "user_id"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, str], code: Code, named: str) -> None:
    refusal = parse_question({**DATES, **changed})
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    assert named in refusal.message


@pytest.mark.parametrize(
    ("start", "end", "timezone", "begins_at", "ends_before"),
    [
        ("1970-01-01", "1970-01-01", "UTC", 0, 86_400),
        ("0001-01-01", "9999-12-31", "UTC", 0, 2**32 - 1),
        ("1970-01-01", "1970-01-01", "Europe/Berlin", 0, 82_800),
        ("2025-03-30", "2025-03-30", "Europe/Berlin", 1_743_289_200, 1_743_372_000),
        ("9000-01-01", "9999-12-31", "UTC", 2**32 - 1, 2**32 - 1),
        ("0001-01-01", "1969-12-30", "UTC", 0, 0),
    ],
)
def test_the_seconds_of_a_range(
    start: str, end: str, timezone: str, begins_at: int, ends_before: int
) -> None:
    question = Question(date.fromisoformat(start), date.fromisoformat(end), timezone=timezone)
    assert (question.begins_at, question.ends_before) == (begins_at, ends_before)


@given(
    st.dates(date(1972, 1, 1), date(2099, 12, 30)),
    st.integers(0, 400),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_a_range_begins_and_ends_where_the_local_day_changes(
    start: date, days: int, timezone: str
) -> None:
    question = Question(start, start + timedelta(days=days), timezone=timezone)

    def day_of(second: int) -> date:
        return datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(timezone)).date()

    assert day_of(question.begins_at) == question.start
    assert day_of(question.begins_at - 1) < question.start
    assert day_of(question.ends_before - 1) == question.end
    assert day_of(question.ends_before) > question.end
