"""A statement, and the parts that several have: periods, ranges, filters, places in a list.

In: a `Question`. Out: SQL made of constants, with everything that was asked bound to names. Never:
text of a question inside SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

import msgspec

from query.question import FIRST_DAY, LAST_DAY, Filter, Grouping, Place, Question

Row_co = TypeVar("Row_co", bound=msgspec.Struct, covariant=True)
Parameters = dict[str, object]


class Cost(Enum):
    """What a statement reads: those of one kind wait for each other, not for another kind."""

    OF_USER = auto()  # a user's rows, which lie together
    ROLLUP = auto()
    ROWS = auto()  # those of everybody


@dataclass(frozen=True, slots=True)
class Statement(Generic[Row_co]):
    """SQL, what is bound in it, and the type of its rows.

    `of_events` says that it reads the events themselves, which are kept for some days only.
    """

    sql: str
    parameters: Mapping[str, object]
    row: type[Row_co]
    cost: Cost
    of_events: bool = False


@dataclass(frozen=True, slots=True)
class Periods:
    """How rows are divided into periods: what is grouped and ordered by, and the label."""

    keys: str
    label: str
    order: str


BUCKETS_WITHIN = (
    "bucket >= toDateTime({begin:UInt32}, 'UTC') AND bucket < toDateTime({end:UInt32}, 'UTC')"
)
# The table is ordered by the day, and a condition on the moment alone does not say so to it.
EVENTS_WITHIN = """toDate(timestamp) BETWEEN toDate(toDateTime({begin:UInt32}, 'UTC'))
        AND toDate(toDateTime({end:UInt32}, 'UTC'))
    AND timestamp >= toDateTime64({begin:UInt32}, 3, 'UTC')
    AND timestamp < toDateTime64({end:UInt32}, 3, 'UTC')"""
SESSIONS_WITHIN = """started_at >= toDateTime64({begin:UInt32}, 3, 'UTC')
    AND started_at < toDateTime64({end:UInt32}, 3, 'UTC')"""

# The first day of the period that a day lies in; weeks begin on Sunday (mode 0).
_FIRST_DAY = {
    Grouping.DAY: "{day}",
    Grouping.WEEK: "toStartOfWeek({day}, 0)",
    Grouping.MONTH: "toStartOfMonth({day})",
}
# An hour or a minute begins at a local time; where clocks change, the offset from UTC tells apart
# two that begin at the same. (ClickHouse's `timezoneOffset` is a day off where a zone once left one
# out, as Pacific/Apia did.)
_LOCAL = (
    "(toInt64(toDate32({moment}, {{timezone:String}})) * 86400"
    " + toHour({moment}, {{timezone:String}}) * 3600"
    " + toMinute({moment}, {{timezone:String}}) * 60 + toSecond({moment}, {{timezone:String}}))"
)
_OFFSET = "({local} - toInt64(toUnixTimestamp({moment})))"
_BEGINNING = "({local} - positiveModulo({local}, {seconds}))"
_MOMENT = (
    "concat(formatDateTime(toDateTime64({begins}, 0, 'UTC'), '%FT%H:%i:00'), "
    "if({offset} < 0, '-', '+'), leftPad(toString(intDiv(abs({offset}), 3600)), 2, '0'), ':', "
    "leftPad(toString(intDiv(abs({offset}) % 3600, 60)), 2, '0'))"
)
CURSOR_AT = "fromUnixTimestamp64Milli({cursor_at:Int64}, 'UTC')"
_VALUE = "toString(getSubcolumn({column}, {{{name}:String}}))"
# Of a list or an object there is no text that a client could have meant.
_IS_PLAIN = (
    "dynamicType(getSubcolumn({column}, {{{name}:String}})) IN "
    "('String', 'Int64', 'UInt64', 'Float64', 'Bool')"
)


def periods(grouping: Grouping, moment: str, day: str | None = None) -> Periods:
    """Return how rows are grouped by periods.

    Args:
        grouping: how long a period is.
        moment: the column that says when; `timezone` is left to be bound.
        day: an expression of the day, if not that of the moment in the time zone.
    """
    if grouping.is_of_days:
        local_day = day or f"toDate32({moment}, {{timezone:String}})"
        first = _FIRST_DAY[grouping].format(day=local_day)
        return Periods(first, first, first)
    local = _LOCAL.format(moment=moment)
    offset = _OFFSET.format(moment=moment, local=local)
    begins = _BEGINNING.format(local=local, seconds=grouping.seconds)
    label = _MOMENT.format(begins=begins, offset=offset)
    return Periods(f"{begins}, {offset}", label, f"{begins} - {offset}, {offset}")


def value_at(column: Place, name: str) -> str:
    """Return the text of the value at the path that is bound to a name."""
    return _VALUE.format(column=column, name=name)


def is_plain(column: Place, name: str) -> str:
    """Return whether that value is a string, a number or a truth value."""
    return _IS_PLAIN.format(column=column, name=name)


def conditions(question: Question) -> tuple[str, Parameters]:
    """Return the conditions on user, names and values, each beginning with AND, and what they bind.

    The table must have the columns that the question's filters are about.
    """
    sql, bound = "", Parameters()
    if question.user_id is not None:
        sql, bound["user_id"] = " AND user_id = {user_id:String}", question.user_id
    if question.events:
        sql, bound["events"] = f"{sql} AND event IN {{events:Array(String)}}", [*question.events]
    for number, each in enumerate(question.filters):
        condition, more = _condition(each, f"path_{number}", f"value_{number}")
        sql, bound = f"{sql} AND {condition}", {**bound, **more}
    return sql, bound


def behind_cursor(question: Question, moment: str) -> tuple[str, Parameters]:
    """Return the condition on the rows behind the cursor, newest first; it begins with AND."""
    if question.cursor is None:
        return "", {}
    return (
        f" AND {moment} <= {CURSOR_AT} AND ({moment}, kafka_partition, kafka_offset) < "
        f"({CURSOR_AT}, {{cursor_partition:UInt16}}, {{cursor_offset:UInt64}})",
        {
            "cursor_at": question.cursor.at_ms,
            "cursor_partition": question.cursor.partition,
            "cursor_offset": question.cursor.offset,
        },
    )


def range_of(question: Question) -> Parameters:
    """Return the seconds and days of the range, and the time zone, to be bound."""
    return {
        "timezone": question.timezone,
        "begin": question.begins_at,
        "end": question.ends_before,
        "first": max(question.start, FIRST_DAY),
        "last": min(question.end, LAST_DAY),
    }


def cost_of(question: Question, otherwise: Cost) -> Cost:
    """Return what a statement costs: little if it is about one user."""
    return otherwise if question.user_id is None else Cost.OF_USER


def _condition(wanted: Filter, path: str, value: str) -> tuple[str, Parameters]:
    place = wanted.path.place
    return (
        f"{value_at(place, path)} = {{{value}:String}} AND {is_plain(place, path)}",
        {path: wanted.path.keys, value: wanted.value},
    )
