"""Events counted by period and name: /metrics.

In: a `Question`. Out: a statement over the rollups, or over the events themselves where metadata
are asked for.
"""

from __future__ import annotations

import msgspec

from query.question import Counted, Question
from query.statements.statement import (
    BUCKETS_WITHIN,
    EVENTS_WITHIN,
    Cost,
    Periods,
    Statement,
    conditions,
    cost_of,
    periods,
    range_of,
)

_COUNT = """
SELECT {label} AS period, event, {numbers}
FROM {table}
WHERE {within}{conditions}
GROUP BY {keys}, event
ORDER BY {order}, event
"""
# Days in UTC are kept by projections: the condition must be in their terms to use them.
_UTC_DAYS = "toDate(bucket) BETWEEN {first:Date} AND {last:Date}"
_UTC_DAY = "toDate32(toDate(bucket))"
_OF_ROLLUP = {
    Counted.EVENTS: "sum(events)",
    Counted.USERS: "uniqCombined64Merge(14)(users_state), sum(events)",
}
# A projection is found by its very expressions.
_OF_DAYS = {
    Counted.EVENTS: "sum(events)",
    Counted.USERS: "finalizeAggregation(uniqCombined64MergeState(14)(users_state)), sum(events)",
}
_OF_USER = {Counted.EVENTS: "sum(events)", Counted.USERS: "toUInt64(1)"}
_OF_EVENTS = {Counted.EVENTS: "count()", Counted.USERS: "uniqCombined64(14)(user_id)"}


class EventCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many events of a name lie in a period, or how many users had one."""

    period: str
    event: str
    n: int

    @property
    def place(self) -> tuple[str, str]:
        """What no other row of an answer has."""
        return self.period, self.event

    @property
    def sums(self) -> int:
        """How many events there are."""
        return self.n


class UserCount(EventCount, frozen=True, array_like=True, gc=False):
    """How many users had an event of a name in a period, and how many events those were."""

    events: int

    @property
    def sums(self) -> int:
        """How many events there are."""
        return self.events


def count_events(question: Question) -> Statement[EventCount]:
    """Return the statement of the counts by period and name, in code-point order in a period.

    Its rows are `UserCount` where the users are those of a rollup.
    """
    if question.filters:
        return _statement(
            question, "events", _OF_EVENTS, EVENTS_WITHIN, periods(question.grouping, "timestamp")
        )
    if question.user_id is not None:
        return _statement(
            question,
            "user_counts_15m",
            _OF_USER,
            BUCKETS_WITHIN,
            periods(question.grouping, "bucket"),
        )
    if question.timezone == "UTC" and question.grouping.is_of_days:
        grouped = periods(question.grouping, "bucket", _UTC_DAY)
        return _statement(question, "event_counts_15m", _OF_DAYS, _UTC_DAYS, grouped)
    return _statement(
        question,
        "event_counts_15m",
        _OF_ROLLUP,
        BUCKETS_WITHIN,
        periods(question.grouping, "bucket"),
    )


def _statement(
    question: Question, table: str, numbers: dict[Counted, str], within: str, grouped: Periods
) -> Statement[EventCount]:
    condition, bound = conditions(question)
    sql = _COUNT.format(
        label=grouped.label,
        keys=grouped.keys,
        order=grouped.order,
        numbers=numbers[question.counted],
        table=table,
        within=within,
        conditions=condition,
    )
    of_events = table == "events"
    cost = cost_of(question, Cost.ROWS if of_events else Cost.ROLLUP)
    of_users = question.counted is Counted.USERS and table == "event_counts_15m"
    row = UserCount if of_users else EventCount
    return Statement(sql, {**range_of(question), **bound}, row, cost, of_events)
