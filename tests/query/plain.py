"""What every question must be answered with: plain Python over all rows, slow and short.

In: a path, a question, rows. Out: the records of the answer, as JSON has them. Nothing of SQL.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from query.question import (
    Counted,
    Fill,
    Path,
    Place,
    Question,
    Stats,
    label_of_day,
    label_of_moment,
)
from tests.query.rows import Event, Session

Record = dict[str, Any]
OPENS = "play"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rows(NamedTuple):
    """All that there is."""

    events: Sequence[Event]
    sessions: Sequence[Session]


def answer(path: str, question: Question, rows: Rows) -> list[Record]:
    """Return the records of the answer; of a list all rows that there are."""
    return _ANSWERS[path](question, rows)


def count_events(question: Question, rows: Rows) -> list[Record]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seen = set()
    for event in _events(question, rows):
        period = period_of(event.timestamp, question)
        if question.counted is Counted.USERS:
            if (period, event.event, event.user_id) in seen:
                continue
            seen.add((period, event.event, event.user_id))
        found[period][event.event] += 1
    names = {*question.events, *(name for counts in found.values() for name in counts)}
    if question.fill is Fill.ZERO:
        return [
            {"date": label, **{name: found[label][name] for name in sorted(names)}}
            for label in question.periods()
        ]
    return [{"date": label, **dict(sorted(found[label].items()))} for label in in_order(found)]


def sum_sessions(question: Question, rows: Rows) -> list[Record]:
    found: defaultdict[str, list[Session]] = defaultdict(list)
    for session in _sessions(question, rows):
        found[period_of(session.started_at, question)].append(session)
    labels = question.periods() if question.fill is Fill.ZERO else in_order(found)
    return [{"date": label, **_summed(found[label], question.stats)} for label in labels]


def rank(question: Question, rows: Rows) -> list[Record]:
    place = question.by.place
    values: Iterator[str | None]
    if place is Place.ATTRIBUTES:
        values = (text_at(each.attributes, question.by) for each in _sessions(question, rows))
    else:
        values = (
            each.event if place is Place.EVENT else text_at(each.metadata, question.by)
            for each in _events(question, rows)
        )
    counts = Counter(value for value in values if value is not None)
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0].encode()))
    return [{"value": value, "count": n} for value, n in ordered[: question.limit]]


def list_events(question: Question, rows: Rows) -> list[Record]:
    return [
        {
            "event_id": each.event_id,
            "user_id": each.user_id,
            "event": each.event,
            "timestamp": iso(each.timestamp),
            "received_at": iso(each.received_at),
            "source": each.source,
        }
        for each in _latest_first(_events(question, rows), lambda each: each.timestamp)
    ]


def list_sessions(question: Question, rows: Rows) -> list[Record]:
    return [
        {
            "session_id": each.session_id,
            "user_id": each.user_id,
            "started_at": iso(each.started_at),
            "ended_at": iso(each.ended_at),
            "duration_ms": each.duration_ms,
            "play_id": each.play_id,
            "stop_id": each.stop_id,
            "received_at": iso(each.received_at),
        }
        for each in _latest_first(_sessions(question, rows), lambda each: each.started_at)
    ]


def count_concurrent(question: Question, rows: Rows) -> list[Record]:
    """Look at every moment at which something begins or ends."""
    begin, end = question.begins_at * 1000, question.ends_before * 1000
    spans = [
        (max(each.started_at, begin), min(each.ended_at, end))
        for each in rows.sessions
        if _is_wanted(each.user_id, each.attributes, question)
        and each.started_at < end
        and each.ended_at > begin
        and each.ended_at > each.started_at
    ]
    quarters = range(begin, end, 60_000 if question.grouping == "minute" else 900_000)
    moments = sorted({*quarters, *(at for span in spans for at in span if at < end)})
    peaks: dict[str, int] = {}
    areas: Counter[str] = Counter()
    lengths: Counter[str] = Counter()
    level, changes = 0, Counter(at for at, _ in spans)
    changes.subtract(at for _, at in spans)
    for at, following in zip(moments, [*moments[1:], end], strict=True):
        level += changes[at]
        period = period_of(at, question)
        peaks[period] = max(peaks.get(period, 0), level)
        areas[period] += level * (following - at)
        lengths[period] += following - at
    return [
        {
            "date": period,
            "peak": peak,
            "mean": (2000 * areas[period] + length) // (2 * length) / 1000,
        }
        for period, peak in peaks.items()
        for length in (lengths[period],)
        if peak or question.fill is Fill.ZERO
    ]


def list_open_plays(question: Question, rows: Rows, now_ms: int = 0) -> list[Record]:
    since = now_ms - question.within_hours * 3_600_000
    closed = {(each.user_id, each.play_id, each.started_at) for each in rows.sessions}
    plays = [
        each
        for each in rows.events
        if each.event == OPENS
        and each.received_at >= since
        and _is_wanted(each.user_id, each.metadata, question)
        and (each.user_id, each.event_id, each.timestamp) not in closed
    ]
    return [
        {
            "event_id": each.event_id,
            "user_id": each.user_id,
            "timestamp": iso(each.timestamp),
            "received_at": iso(each.received_at),
        }
        for each in _latest_first(plays, lambda each: each.timestamp)
    ]


_ANSWERS: dict[str, Callable[[Question, Rows], list[Record]]] = {
    "/metrics": count_events,
    "/metrics/top": rank,
    "/sessions": sum_sessions,
    "/sessions/list": list_sessions,
    "/sessions/concurrent": count_concurrent,
    "/events": list_events,
}


def period_of(at_ms: int, question: Question) -> str:
    """Return the label of the period that a moment belongs to."""
    local = _local(at_ms, question.timezone)
    if question.grouping.is_of_days:
        return label_of_day(local.date(), question.grouping)
    return label_of_moment(local, question.grouping)


def in_order(periods: Iterable[str]) -> list[str]:
    """Return labels by their time."""
    return sorted(periods, key=lambda label: (datetime.fromisoformat(label).timestamp(), label))


def text_at(values: Any, path: Path) -> str | None:
    """Return the text of a plain value, None if there is none."""
    for key in path.keys.split(".") if path.keys not in values else (path.keys,):
        if not isinstance(values, dict) or key not in values:
            return None
        values = values[key]
    return _text(values)


def iso(at_ms: int) -> str:
    """Return a moment as answers have it."""
    moment = EPOCH + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: object) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else str(value)
    return None


@cache
def _local(at_ms: int, timezone: str) -> datetime:
    return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(timezone))


def _is_in_range(at_ms: int, question: Question) -> bool:
    return question.start <= _local(at_ms, question.timezone).date() <= question.end


def _is_wanted(user_id: str, values: Any, question: Question) -> bool:
    return question.user_id in (None, user_id) and all(
        text_at(values, each.path) == each.value for each in question.filters
    )


def _events(question: Question, rows: Rows) -> Iterator[Event]:
    for each in rows.events:
        if (
            _is_in_range(each.timestamp, question)
            and _is_wanted(each.user_id, each.metadata, question)
            and (not question.events or each.event in question.events)
        ):
            yield each


def _sessions(question: Question, rows: Rows) -> Iterator[Session]:
    for each in rows.sessions:
        if _is_in_range(each.started_at, question) and _is_wanted(
            each.user_id, each.attributes, question
        ):
            yield each


def _latest_first(rows: Iterable[Any], moment: Callable[[Any], int]) -> list[Any]:
    return sorted(
        rows, key=lambda row: (moment(row), row.kafka_partition, row.kafka_offset), reverse=True
    )


def _summed(sessions: Sequence[Session], stats: Stats) -> Record:
    total, n = sum(each.duration_ms for each in sessions), len(sessions)
    record = {
        "totalDuration": (2 * total + 1000) // 2000,
        "sessionCount": n,
        "averageDuration": (2 * total + 1000 * n) // (2000 * n) if n else 0,
    }
    if stats is Stats.EXTENDED:
        seconds = sorted((each.duration_ms + 500) // 1000 for each in sessions) or [0]
        record |= {
            "medianDuration": seconds[_rank(0.5, len(seconds))],
            "p95Duration": seconds[_rank(0.95, len(seconds))],
            "longestDuration": seconds[-1],
            "users": len({each.user_id for each in sessions}),
        }
    return record


def _rank(level: float, n: int) -> int:
    return max(math.ceil(level * n), 1) - 1
