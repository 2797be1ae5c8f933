"""What can be asked, as values: days, periods, filters, and what is wrong with a question.

In: what `parameters` has read. Out: a `Question` and the seconds and labels of its periods. Never:
a clock, a connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from zoneinfo import ZoneInfo

# What buckets can hold: seconds since 1970 in 32 bits.
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2106, 2, 6)
_MAX_SECONDS = 2**32 - 1
# Offsets from UTC are whole quarters of an hour, which is why counts are kept by these.
_QUARTER_S = 900
_DAY_S = 86_400


class Grouping(StrEnum):
    """How long a period is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def seconds(self) -> int:
        """The least that a period of this length takes, but for changes of the clock."""
        return _SECONDS[self]

    @property
    def is_of_days(self) -> bool:
        """Whether a period is whole days, labelled by the first of them."""
        return self not in {Grouping.MINUTE, Grouping.HOUR}


# So many days after the first of a period lies the next one.
_AHEAD = {Grouping.DAY: 1, Grouping.WEEK: 7, Grouping.MONTH: 31}
_SECONDS = {
    Grouping.MINUTE: 60,
    Grouping.HOUR: 3600,
    Grouping.DAY: _DAY_S,
    Grouping.WEEK: 7 * _DAY_S,
    Grouping.MONTH: 28 * _DAY_S,
}


class Counted(StrEnum):
    """What /metrics counts."""

    EVENTS = "events"
    USERS = "users"


class Stats(StrEnum):
    """How much /sessions says of a period."""

    BASIC = "basic"
    EXTENDED = "extended"


class Fill(StrEnum):
    """What becomes of periods without data."""

    NONE = "none"
    ZERO = "zero"


class Format(StrEnum):
    """How an answer is written."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


class Place(StrEnum):
    """Whose values a filter or a ranking is about: names of events, or a column of JSON."""

    EVENT = "event"
    METADATA = "metadata"
    ATTRIBUTES = "attributes"


class Code(StrEnum):
    """What can be wrong with a question; the `code` of an HTTP error."""

    MISSING_DATE = "missing_date"
    INVALID_DATE = "invalid_date"
    INVALID_RANGE = "invalid_range"
    INVALID_GROUP_BY = "invalid_group_by"
    INVALID_TIMEZONE = "invalid_timezone"
    INVALID_USER_ID = "invalid_user_id"
    MISSING_USER_ID = "missing_user_id"
    INVALID_EVENT = "invalid_event"
    INVALID_FILL = "invalid_fill"
    INVALID_FORMAT = "invalid_format"
    INVALID_COUNT = "invalid_count"
    INVALID_STATS = "invalid_stats"
    INVALID_FILTER = "invalid_filter"
    INVALID_BY = "invalid_by"
    INVALID_LIMIT = "invalid_limit"
    INVALID_CURSOR = "invalid_cursor"
    INVALID_HOURS = "invalid_hours"
    UNEXPECTED_PARAMETER = "unexpected_parameter"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a question cannot be answered: a code and a sentence that names the parameter."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class Path:
    """A value inside of metadata or attributes, by its keys with dots between; or a name."""

    place: Place
    keys: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """Only where a value is written like this; numbers and truth values count by their text."""

    path: Path
    value: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: its moment in milliseconds since 1970, and where it came from.

    A list is in the order of the three, which no two rows share and which never change, so a page
    that goes on behind them loses and doubles nothing, whatever arrives meanwhile.
    """

    at_ms: int
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return how it is written."""
        return f"{self.at_ms}.{self.partition}.{self.offset}"


NO_LIMIT = 0


@dataclass(frozen=True, slots=True)
class Question:
    """Days, both inclusive, in a time zone; one user or all; and what is wanted of them.

    A parameter that a route does not have keeps its default. A limit of 0 is none.
    """

    start: date = FIRST_DAY
    end: date = LAST_DAY
    grouping: Grouping = Grouping.DAY
    user_id: str | None = None
    timezone: str = "UTC"
    events: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    fill: Fill = Fill.NONE
    counted: Counted = Counted.EVENTS
    stats: Stats = Stats.BASIC
    by: Path = Path(Place.EVENT)
    limit: int = 100
    cursor: Cursor | None = None
    within_hours: int = 24
    format: Format = Format.JSON

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

    @property
    def most_periods(self) -> int:
        """How many periods the range may have, at most."""
        if self.grouping.is_of_days:
            return (self.end - self.start).days // (self.grouping.seconds // _DAY_S) + 2
        return (self.ends_before - self.begins_at) // self.grouping.seconds + 2

    def periods(self) -> Iterator[str]:
        """Give the labels of all periods of the range, in order."""
        if self.grouping.is_of_days:
            yield from _labels_of_days(self.start, self.end, self.grouping)
        else:
            yield from self._labels_of_moments()

    def _labels_of_moments(self) -> Iterator[str]:
        zone = ZoneInfo(self.timezone)
        step = min(self.grouping.seconds, _QUARTER_S)
        last = None
        for at in range(self.begins_at, self.ends_before, step):
            label = label_of_moment(datetime.fromtimestamp(at, zone), self.grouping)
            if label != last:
                last = label
                yield label


def label_of_day(day: date, grouping: Grouping) -> str:
    """Return the label of the period of whole days that a day lies in; weeks begin on Sunday."""
    if grouping is Grouping.WEEK:
        # The week of the first day that there is begins a year earlier, which does not exist.
        return _iso(max(day.toordinal() - day.isoweekday() % 7, 1))
    return (day.replace(day=1) if grouping is Grouping.MONTH else day).isoformat()


def label_of_moment(local: datetime, grouping: Grouping) -> str:
    """Return the label of the hour or minute of a local time: its beginning, with the offset.

    Where clocks are set back, an hour comes twice, and the offset tells which it is.
    """
    # With the offset of the moment itself: the beginning of the hour may have had another one.
    fixed = local.replace(tzinfo=timezone(local.utcoffset() or timedelta()))
    minute = 0 if grouping is Grouping.HOUR else fixed.minute
    return fixed.replace(minute=minute, second=0, microsecond=0).isoformat()


def _labels_of_days(start: date, end: date, grouping: Grouping) -> Iterator[str]:
    label = label_of_day(start, grouping)
    while True:
        yield label
        # Far enough to lie in the next period, and not beyond it.
        ahead = date.fromisoformat(label).toordinal() + _AHEAD[grouping]
        if ahead > date.max.toordinal():
            return
        label = label_of_day(date.fromordinal(ahead), grouping)
        if date.fromisoformat(label) > end:
            return


def _iso(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


def _midnight(day: date, timezone: str) -> int:
    if day < FIRST_DAY:
        return 0
    if day > LAST_DAY:
        return _MAX_SECONDS
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return max(0, int(local.astimezone(UTC).timestamp()))
