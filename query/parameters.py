"""What is asked for: the parameters of /metrics and /sessions, checked.

In: the parameters of a query string. Out: a `Question`, or a `Refusal` that names the parameter.
Never: a clock, a connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

MAX_USER_ID_LENGTH = 256
DATE_PATTERN = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DATE = re.compile(DATE_PATTERN)
# What buckets can hold: seconds since 1970 in 32 bits.
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2106, 2, 6)
_MAX_SECONDS = 2**32 - 1


class Grouping(StrEnum):
    """How long a period is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_GROUPINGS: Mapping[str, Grouping] = {each.value: each for each in Grouping}


class Code(StrEnum):
    """What can be wrong with a question; the `code` of an HTTP error."""

    MISSING_DATE = "missing_date"
    INVALID_DATE = "invalid_date"
    INVALID_RANGE = "invalid_range"
    INVALID_GROUP_BY = "invalid_group_by"
    INVALID_TIMEZONE = "invalid_timezone"
    INVALID_USER_ID = "invalid_user_id"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a question cannot be answered: a code and a sentence that names the parameter."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class Question:
    """Days, both inclusive, in a time zone; one user or all; the periods to divide them into."""

    start: date
    end: date
    grouping: Grouping = Grouping.DAY
    user_id: str | None = None
    timezone: str = "UTC"

    @property
    def begins_at(self) -> int:
        """The first second of the range, since 1970."""
        return _midnight(self.start, self.timezone)

    @property
    def ends_before(self) -> int:
        """The first second after the range, since 1970."""
        if self.end >= LAST_DAY:
            return _MAX_SECONDS
        return _midnight(self.end + timedelta(days=1), self.timezone)


def parse_question(parameters: Mapping[str, str]) -> Question | Refusal:
    """Return what is asked for, or the first thing wrong; unknown parameters are ignored."""
    start_text, end_text = parameters.get("start_date"), parameters.get("end_date")
    if not start_text or not end_text:
        return Refusal(Code.MISSING_DATE, "start_date and end_date are required")
    start, end = _parse_date(start_text), _parse_date(end_text)
    if start is None or end is None:
        return Refusal(Code.INVALID_DATE, "Invalid date format. Use YYYY-MM-DD")
    if end < start:
        return Refusal(
            Code.INVALID_RANGE, "end_date is before start_date; it must be the same day or later"
        )
    grouping = _GROUPINGS.get(parameters.get("group_by", Grouping.DAY))
    if grouping is None:
        return Refusal(Code.INVALID_GROUP_BY, "group_by must be day, week or month")
    timezone = parameters.get("timezone", "UTC")
    if timezone not in _timezones():
        return refuse_timezone()
    user_id = parameters.get("user_id")
    if user_id is not None and not 1 <= len(user_id) <= MAX_USER_ID_LENGTH:
        return Refusal(
            Code.INVALID_USER_ID, f"user_id must have 1 to {MAX_USER_ID_LENGTH} characters"
        )
    return Question(start, end, grouping, user_id, timezone)


def refuse_timezone() -> Refusal:
    """Return the refusal of a time zone that this service or ClickHouse does not know."""
    return Refusal(
        Code.INVALID_TIMEZONE,
        "timezone must be a name of the IANA time zone database, such as UTC or Europe/Berlin",
    )


def _parse_date(text: str) -> date | None:
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _midnight(day: date, timezone: str) -> int:
    if day < FIRST_DAY:
        return 0
    if day > LAST_DAY:
        return _MAX_SECONDS
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return max(0, int(local.astimezone(UTC).timestamp()))


@cache
def _timezones() -> frozenset[str]:
    # `localtime` is whatever the machine is set to.
    return frozenset(available_timezones() - {"localtime"})
