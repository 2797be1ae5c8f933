"""Every question over HTTP, an entry each: where it is asked, with what, of which rows.

In: nothing. Out: `ENTRIES`. An entry is parameters, a statement and a way to tell; what all have in
common (the guard, formats, limits, headers) stands in `endpoints`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from query import parameters as p
from query import parsing
from query.answers import (
    Answer,
    ConcurrentPeriod,
    EventRow,
    OpenPlayRow,
    Rank,
    SessionPeriod,
    SessionPeriodExtended,
    SessionRow,
    tell_concurrency,
    tell_counts,
    tell_page,
    tell_ranks,
    tell_sessions,
)
from query.question import Question, Refusal
from query.statements.concurrency import count_concurrent
from query.statements.lists import list_events, list_open_plays, list_sessions
from query.statements.metrics import count_events
from query.statements.ranking import rank
from query.statements.sessions import sum_sessions
from query.statements.statement import Statement


@dataclass(frozen=True, slots=True)
class Entry:
    """A question.

    Attributes:
        path: where it is asked.
        name: of the operation.
        summary: what it answers, in a line.
        parameters: those that it has, in the order in which they are checked.
        state: returns the statement.
        tell: returns the answer of the rows.
        records: the types of the records; none where names of events are members.
        failure: what is said if ClickHouse does not answer.
        check: finds what is wrong with parameters that are right each.
    """

    path: str
    name: str
    summary: str
    parameters: Sequence[p.Parameter]
    state: Callable[[Question], Statement[Any]]
    tell: Callable[[Sequence[Any], Question], Answer]
    records: Sequence[type[msgspec.Struct]]
    failure: str
    check: parsing.Check = parsing.nothing_more

    def parse(self, asked: parsing.Pairs) -> Question | Refusal:
        """Return what the names and values of a query string ask for, or what is wrong."""
        return parsing.parse_question(asked, self.parameters, self.check)


_RANGE = (p.START, p.END)
_ANY_RANGE = (replace(p.START, required=None), replace(p.END, required=None))
_METRICS_FAILED = "Failed to fetch metrics"
_SESSIONS_FAILED = "Failed to fetch session metrics"

ENTRIES = (
    Entry(
        "/metrics",
        "metrics",
        "Count events, or their users, by period and name",
        (
            *_RANGE,
            p.GROUP_BY,
            p.TIMEZONE,
            p.USER_ID,
            p.EVENT,
            p.METADATA,
            p.COUNT,
            p.FILL,
            p.FORMAT,
        ),
        count_events,
        tell_counts,
        (),
        _METRICS_FAILED,
    ),
    Entry(
        "/metrics/top",
        "top",
        "Rank events by name, or by a value of their metadata or of sessions' attributes",
        (
            *_RANGE,
            p.TIMEZONE,
            p.USER_ID,
            p.BY,
            p.EVENT,
            p.METADATA,
            p.ATTRIBUTES,
            p.LIMIT_OF_TOP,
            p.FORMAT,
        ),
        rank,
        tell_ranks,
        (Rank,),
        _METRICS_FAILED,
        parsing.check_ranking,
    ),
    Entry(
        "/sessions",
        "sessions",
        "Sum up sessions by the period in which they began",
        (*_RANGE, p.GROUP_BY, p.TIMEZONE, p.USER_ID, p.ATTRIBUTES, p.STATS, p.FILL, p.FORMAT),
        sum_sessions,
        tell_sessions,
        (SessionPeriod, SessionPeriodExtended),
        _SESSIONS_FAILED,
    ),
    Entry(
        "/sessions/list",
        "list_sessions",
        "List sessions, the latest first",
        (*_RANGE, p.TIMEZONE, p.USER_ID, p.ATTRIBUTES, p.CURSOR, p.LIMIT, p.FORMAT),
        list_sessions,
        partial(tell_page, SessionRow),
        (SessionRow,),
        "Failed to fetch sessions",
    ),
    Entry(
        "/sessions/open",
        "open_sessions",
        "List the plays that nothing has closed yet, the latest first",
        (p.USER_ID, p.METADATA, p.WITHIN_HOURS, p.CURSOR, p.LIMIT, p.FORMAT),
        list_open_plays,
        partial(tell_page, OpenPlayRow),
        (OpenPlayRow,),
        "Failed to fetch open sessions",
    ),
    Entry(
        "/sessions/concurrent",
        "concurrent_sessions",
        "Tell how many sessions were under way at once, at most and on average",
        (*_RANGE, p.GROUP_BY_MOMENT, p.TIMEZONE, p.USER_ID, p.ATTRIBUTES, p.FILL, p.FORMAT),
        count_concurrent,
        tell_concurrency,
        (ConcurrentPeriod,),
        _SESSIONS_FAILED,
    ),
    Entry(
        "/events",
        "list_events",
        "List the events of a user that are still kept, the latest first",
        (*_ANY_RANGE, p.TIMEZONE, p.THE_USER_ID, p.EVENT, p.METADATA, p.CURSOR, p.LIMIT, p.FORMAT),
        list_events,
        partial(tell_page, EventRow),
        (EventRow,),
        "Failed to fetch events",
        parsing.check_list_of_events,
    ),
)
BY_PATH: Mapping[str, Entry] = {each.path: each for each in ENTRIES}
