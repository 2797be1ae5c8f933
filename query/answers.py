"""What was found becomes what is told: records, the same in every format.

In: rows, and the question that they answer. Out: an `Answer`, its records in the documented order;
JSON, for what is always JSON. Never: a float, but for a mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from query.question import NO_LIMIT, Cursor, Fill, Question, Stats
from query.statements.concurrency import Concurrency
from query.statements.lists import Listed
from query.statements.metrics import EventCount
from query.statements.ranking import Ranked
from query.statements.sessions import SessionStats, SessionSum

DATE = "date"
Whole = Annotated[int, Meta(ge=0)]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Values = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


class SessionPeriod(msgspec.Struct, gc=False):
    """A period in the answer of /sessions, durations in seconds."""

    date: str
    totalDuration: Whole  # noqa: N815  # the API's name
    sessionCount: Whole  # noqa: N815
    averageDuration: Whole  # noqa: N815


class SessionPeriodExtended(SessionPeriod, gc=False):
    """The same with quantiles by nearest rank, and how many users there were, within about 1 %."""

    medianDuration: Whole  # noqa: N815
    p95Duration: Whole  # noqa: N815
    longestDuration: Whole  # noqa: N815
    users: Whole


class ConcurrentPeriod(msgspec.Struct, gc=False):
    """A period in the answer of /sessions/concurrent."""

    date: str
    peak: Whole
    mean: Annotated[float, Meta(ge=0)]


class Rank(msgspec.Struct, gc=False):
    """A value in the answer of /metrics/top, and how many events or sessions have it."""

    value: str
    count: Annotated[int, Meta(ge=1)]


class EventRow(msgspec.Struct, gc=False):
    """An event in the answer of /events."""

    event_id: str
    user_id: str
    event: str
    timestamp: Moment
    received_at: Moment
    metadata: Values
    source: str


class SessionRow(msgspec.Struct, gc=False):
    """A session in the answer of /sessions/list."""

    session_id: str
    user_id: str
    started_at: Moment
    ended_at: Moment
    duration_ms: Whole
    attributes: Values
    play_id: str
    stop_id: str
    received_at: Moment


class OpenPlayRow(msgspec.Struct, gc=False):
    """A play in the answer of /sessions/open."""

    event_id: str
    user_id: str
    timestamp: Moment
    received_at: Moment
    metadata: Values


Record = msgspec.Struct | dict[str, str | int]
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
    """Records, the names of their members in order, and where the next page goes on."""

    columns: Sequence[str]
    records: Sequence[Record]
    next: Cursor | None = None


def tell_counts(counts: Iterable[EventCount], question: Question) -> Answer:
    """Return each period's date, then its events in code-point order."""
    periods: dict[str, dict[str, str | int]] = {}
    for each in counts:
        periods.setdefault(each.period, {DATE: each.period})[each.event] = each.n
    names = sorted({*question.events, *(name for each in periods.values() for name in each)})
    columns = (DATE, *(name for name in names if name != DATE))
    if question.fill is Fill.ZERO:
        nothing = dict.fromkeys(columns[1:], 0)
        periods = {
            label: {DATE: label, **nothing, **periods.get(label, {})}
            for label in question.periods()
        }
    return Answer(columns, [*periods.values()])


def tell_sessions(sums: Iterable[SessionSum], question: Question) -> Answer:
    """Return number and durations by period, in whole seconds."""
    kind = SessionPeriodExtended if question.stats is Stats.EXTENDED else SessionPeriod
    columns = kind.__struct_fields__
    records = {each.period: _session_period(each) for each in sums}
    if question.fill is Fill.ZERO:
        nothing = (0,) * (len(columns) - 1)
        records = {
            label: records.get(label) or kind(label, *nothing) for label in question.periods()
        }
    return Answer(columns, [*records.values()])


def tell_concurrency(found: Iterable[Concurrency], question: Question) -> Answer:
    """Return peak and mean by period, the mean with three decimals."""
    records = [
        ConcurrentPeriod(
            each.period, each.peak, round_half_up(1000 * each.level_ms, each.total_ms) / 1000
        )
        for each in found
        if each.peak or question.fill is Fill.ZERO
    ]
    return Answer(ConcurrentPeriod.__struct_fields__, records)


def tell_ranks(ranked: Iterable[Ranked], _: Question) -> Answer:
    """Return values and how often they were found."""
    return Answer(Rank.__struct_fields__, [Rank(each.value, each.n) for each in ranked])


def tell_page(
    kind: type[EventRow | SessionRow | OpenPlayRow], rows: Sequence[Listed], question: Question
) -> Answer:
    """Return a page of rows, and where the next one goes on if there is one."""
    page = rows if question.limit == NO_LIMIT else rows[: question.limit]
    columns = kind.__struct_fields__
    records = [kind(*(getattr(row, name) for name in columns)) for row in page]
    last = page[-1] if len(page) < len(rows) else None
    goes_on = None if last is None else Cursor(last.at_ms, last.partition, last.offset)
    return Answer(columns, records, goes_on)


def encode_error(code: str, message: str) -> bytes:
    """Return the body of an error."""
    return _encode({"status": "error", "code": code, "message": message})


def round_half_up(numerator: int, denominator: int) -> int:
    """Return numerator / denominator, neither negative, as the nearest integer, halves upwards.

    >>> round_half_up(1500, 1000), round_half_up(2499, 1000)
    (2, 2)
    """
    return (2 * numerator + denominator) // (2 * denominator)


def _session_period(found: SessionSum) -> SessionPeriod:
    numbers = (
        round_half_up(found.duration_ms, 1000),
        found.n,
        round_half_up(found.duration_ms, 1000 * found.n),
    )
    if isinstance(found, SessionStats):
        return SessionPeriodExtended(
            found.period, *numbers, found.median, found.p95, found.longest, found.users
        )
    return SessionPeriod(found.period, *numbers)
