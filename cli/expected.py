"""What the answers of /metrics and /sessions must be, by the pure functions and the log alone.

In: the records of `track.events`, each partition's in order. Out: the answers, as the API gives
them, for all users and for single ones. Never: Faust, ClickHouse, a clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from contracts.rows import AcceptedRow, RejectedRow, SessionRow
from contracts.timestamps import DAY_MS
from processors.sessionizer.partition import Partition, Pipeline, Record

EPOCH = date(1970, 1, 1)
Period = dict[str, int | str]


@dataclass(slots=True)
class SessionTotal:
    """Sessions of a period: how many, and their durations' sum in ms."""

    count: int = 0
    duration_ms: int = 0


@dataclass(slots=True)
class Tally:
    """What was counted, by day since 1970 (UTC)."""

    events: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sessions: dict[int, SessionTotal] = field(default_factory=lambda: defaultdict(SessionTotal))

    def add_event(self, timestamp: int, name: str) -> None:
        """Count an event on the day of its timestamp (ms)."""
        self.events[timestamp // DAY_MS][name] += 1

    def add_session(self, started_at: int, duration_ms: int) -> None:
        """Count a session on the day of its play (ms)."""
        total = self.sessions[started_at // DAY_MS]
        total.count += 1
        total.duration_ms += duration_ms


@dataclass(frozen=True, slots=True)
class Question:
    """The parameters of /metrics and /sessions."""

    start: date
    end: date
    group_by: str = "day"
    user_id: str | None = None


class Expectation:
    """The answers that a log implies; it takes the log record by record.

    Attributes:
        accepted: how many accepted events there are of the users that are tallied one by one.
    """

    def __init__(self, pipeline: Pipeline, word: str) -> None:
        """Expect nothing yet; users whose id begins with `word` are tallied one by one as well."""
        self.accepted = 0
        self._word = word
        self._all = Tally()
        self._users: dict[str, Tally] = defaultdict(Tally)
        self._partitions = [
            Partition(number, pipeline) for number in range(pipeline.partitioner.partitions)
        ]

    def take(self, partition: int, record: Record) -> None:
        """Apply the next record of a partition."""
        self._partitions[partition].step(record, self)

    def metrics(self, question: Question) -> list[Period]:
        """Return the `data` that /metrics must answer."""
        periods: dict[date, Counter[str]] = defaultdict(Counter)
        for day, counts in self._tally(question).events.items():
            if _is_asked(question, day):
                periods[_period(question, day)].update(counts)
        return [
            {"date": first.isoformat(), **dict(sorted(counts.items()))}
            for first, counts in sorted(periods.items())
        ]

    def sessions(self, question: Question) -> list[Period]:
        """Return the `data` that /sessions must answer."""
        periods: dict[date, SessionTotal] = defaultdict(SessionTotal)
        for day, total in self._tally(question).sessions.items():
            if _is_asked(question, day):
                sum_of = periods[_period(question, day)]
                sum_of.count += total.count
                sum_of.duration_ms += total.duration_ms
        return [
            {
                "date": first.isoformat(),
                "totalDuration": _rounded(total.duration_ms, 1_000),
                "sessionCount": total.count,
                "averageDuration": _rounded(total.duration_ms, 1_000 * total.count),
            }
            for first, total in sorted(periods.items())
        ]

    def counted(self) -> Mapping[str, int]:
        """Return how often each event of the users tallied one by one was accepted."""
        counted: Counter[str] = Counter()
        for tally in self._users.values():
            for counts in tally.events.values():
                counted.update(counts)
        return counted

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        """Count an accepted event."""
        self._all.add_event(row.timestamp, row.event)
        if row.user_id.startswith(self._word):
            self.accepted += 1
            self._users[row.user_id].add_event(row.timestamp, row.event)

    def complete(self, user: bytes, row: SessionRow) -> None:
        """Count a completed session."""
        self._all.add_session(row.started_at, row.duration_ms)
        if row.user_id.startswith(self._word):
            self._users[row.user_id].add_session(row.started_at, row.duration_ms)

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        """Pass over what is not an event: it is not counted."""

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """Pass over an event of another partition: it is in the log once more, where it belongs."""

    def _tally(self, question: Question) -> Tally:
        if question.user_id is None:
            return self._all
        return self._users.get(question.user_id, Tally())


def week_of(day: date) -> date:
    """Return the Sunday on or before a day."""
    return day - timedelta(days=(day.weekday() + 1) % 7)


_FIRST_DAYS: Mapping[str, Callable[[date], date]] = {
    "day": lambda day: day,
    "week": week_of,
    "month": lambda day: day.replace(day=1),
}


def _period(question: Question, day: int) -> date:
    return _FIRST_DAYS[question.group_by](_date(day))


def _is_asked(question: Question, day: int) -> bool:
    return question.start <= _date(day) <= question.end


def _date(day: int) -> date:
    return EPOCH + timedelta(days=day)


def _rounded(numerator: int, denominator: int) -> int:
    """Return the quotient, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)
