"""Rows, newest first: /events, /sessions/list, /sessions/open.

In: a `Question`, perhaps with the place where a page goes on. Out: the statement of a page, whose
rows end with what a cursor is made of, or of all rows, in no order, without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from query.question import NO_LIMIT, Question
from query.statements.statement import (
    CURSOR_AT,
    EVENTS_WITHIN,
    SESSIONS_WITHIN,
    Cost,
    Statement,
    behind_cursor,
    conditions,
    cost_of,
    range_of,
)

# One row more than the page has: whether there is one says whether the page is the last.
_PAGE = """
SELECT {columns}, toUnixTimestamp64Milli({moment}), kafka_partition, kafka_offset
FROM {rows}{behind}
ORDER BY {moment} DESC, kafka_partition DESC, kafka_offset DESC
LIMIT {{limit:UInt32}}
"""
_ALL = "SELECT {columns} FROM {rows}{behind}"

_EVENTS = f"events WHERE {EVENTS_WITHIN}{{conditions}}"
# The table is ordered by day and name; on which days a user did what, the counts know.
_ON_DAYS_OF_USER = """ AND (toDate(timestamp), event) IN (
        SELECT toDate(bucket), event FROM user_counts_15m WHERE user_id = {user_id:String}
    )"""
_SESSIONS = f"sessions WHERE {SESSIONS_WITHIN}{{conditions}}"
# The table is ordered by user; its projection by time says how far back a page of all users goes.
# (Those of the cursor's very moment may have been on earlier pages, and do not count here.)
_NO_EARLIER = f""" AND started_at >= assumeNotNull((
        SELECT min(started_at) FROM (
            SELECT started_at FROM sessions
            WHERE {SESSIONS_WITHIN}{{conditions}}{{before}}
            ORDER BY started_at DESC LIMIT {{limit:UInt32}}
        )
    ))"""  # noqa: S608 - parts of ours
# A play is open until a session has closed it. The sessionizer keeps a hundred of a user, those of
# the latest timestamps. (What the event is called that opens a session, the log says.)
_OPEN_PLAYS = """(
    SELECT * FROM events
    WHERE event = (SELECT opens FROM log LIMIT 1)
        AND received_at >= {received_since}{conditions}
        AND (user_id, event_id, timestamp) NOT IN (
            SELECT user_id, play_id, started_at FROM sessions
            WHERE received_at >= {received_since}{of_user}
        )
    ORDER BY timestamp DESC, kafka_offset DESC
    LIMIT 100 BY user_id
) WHERE true"""
_RECEIVED_SINCE = "now64(3, 'UTC') - toIntervalHour({within_hours:UInt32})"


class ListedEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event of a list."""

    event_id: str
    user_id: str
    event: str
    timestamp: str
    received_at: str
    metadata: msgspec.Raw
    source: str
    at_ms: int
    partition: int
    offset: int


class ListedSession(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session of a list."""

    session_id: str
    user_id: str
    started_at: str
    ended_at: str
    duration_ms: int
    attributes: msgspec.Raw
    play_id: str
    stop_id: str
    received_at: str
    at_ms: int
    partition: int
    offset: int


class OpenPlay(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A play that nothing has closed."""

    event_id: str
    user_id: str
    timestamp: str
    received_at: str
    metadata: msgspec.Raw
    at_ms: int
    partition: int
    offset: int


Listed = ListedEvent | ListedSession | OpenPlay
_OF_CURSOR = ("at_ms", "partition", "offset")


@dataclass(frozen=True, slots=True)
class _List:
    """Where rows of a kind come from, and which moment they are in the order of."""

    row: type[Listed]
    rows: str
    moment: str


def list_events(question: Question) -> Statement[Listed]:
    """Return the statement of a user's events."""
    rows = _EVENTS if question.user_id is None else _EVENTS + _ON_DAYS_OF_USER
    return _statement(question, _List(ListedEvent, rows, "timestamp"))


def list_sessions(question: Question) -> Statement[Listed]:
    """Return the statement of the sessions that began in the range."""
    rows = _SESSIONS
    if question.user_id is None and question.limit != NO_LIMIT:
        before = "" if question.cursor is None else f" AND started_at < {CURSOR_AT}"
        rows += _NO_EARLIER.replace("{before}", before)
    return _statement(question, _List(ListedSession, rows, "started_at"))


def list_open_plays(question: Question) -> Statement[Listed]:
    """Return the statement of the plays, received in the last hours, that nothing has closed."""
    of_user, _ = conditions(replace(question, filters=()))
    rows = _OPEN_PLAYS.replace("{received_since}", _RECEIVED_SINCE).replace("{of_user}", of_user)
    return _statement(question, _List(OpenPlay, rows, "timestamp"))


def public_columns(row: type[Listed]) -> tuple[str, ...]:
    """Return the names of what is told of a row, in order."""
    return tuple(name for name in row.__struct_fields__ if name not in _OF_CURSOR)


def _statement(question: Question, wanted: _List) -> Statement[Listed]:
    condition, bound = conditions(question)
    behind, more = behind_cursor(question, wanted.moment)
    template = _ALL if question.limit == NO_LIMIT else _PAGE
    sql = template.format(
        columns=", ".join(public_columns(wanted.row)),
        moment=wanted.moment,
        rows=wanted.rows.replace("{conditions}", condition),
        behind=behind,
    )
    parameters = {
        **range_of(question),
        **bound,
        **more,
        "limit": question.limit + 1,
        "within_hours": question.within_hours,
    }
    cost, of_events = cost_of(question, Cost.ROWS), wanted.row is ListedEvent
    return Statement(sql, parameters, wanted.row, cost, of_events)
