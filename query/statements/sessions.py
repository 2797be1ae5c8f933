"""Sessions summed up by the period in which they began: /sessions.

In: a `Question`. Out: a statement over the rollup, or over the sessions themselves where one user,
attributes, or more than sums are asked for.
"""

from __future__ import annotations

import msgspec

from query.question import Question, Stats
from query.statements.statement import (
    BUCKETS_WITHIN,
    SESSIONS_WITHIN,
    Cost,
    Statement,
    conditions,
    cost_of,
    periods,
    range_of,
)

_SUM_ROLLUP = """
SELECT {label} AS period, sum(sessions) AS n, sum(session_stats_15m.duration_ms) AS duration_ms
FROM session_stats_15m
WHERE {within}
GROUP BY {keys}
ORDER BY {order}
"""
# Nearest rank: the least whole second that at least so many of the sessions do not exceed.
_SUM_SESSIONS = """
SELECT {label} AS period, count() AS n, sum(sessions.duration_ms) AS duration_ms{more}
FROM sessions
WHERE {within}{conditions}
GROUP BY {keys}
ORDER BY {order}
"""
_MORE = """,
    quantilesExactWeighted(0.5, 0.95)(intDiv(sessions.duration_ms + 500, 1000) AS seconds, 1)
        AS quantiles,
    quantiles[1] AS median, quantiles[2] AS p95, max(seconds) AS longest,
    uniqCombined64(14)(user_id) AS users"""


class SessionSum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many sessions began in a period, and how long they took together, in milliseconds."""

    period: str
    n: int
    duration_ms: int

    @property
    def place(self) -> str:
        """What no other row of an answer has."""
        return self.period

    @property
    def sums(self) -> tuple[int, int]:
        """How many sessions there are, and how long they took."""
        return self.n, self.duration_ms


class SessionStats(SessionSum, frozen=True, array_like=True, gc=False):
    """The same with quantiles of the durations in whole seconds, and how many users there were."""

    quantiles: tuple[int, int]
    median: int
    p95: int
    longest: int
    users: int


def sum_sessions(question: Question) -> Statement[SessionSum]:
    """Return the statement of number and durations of the sessions by period."""
    extended = question.stats is Stats.EXTENDED
    if question.user_id is None and not question.filters and not extended:
        grouped = periods(question.grouping, "bucket")
        sql = _SUM_ROLLUP.format(
            label=grouped.label, keys=grouped.keys, order=grouped.order, within=BUCKETS_WITHIN
        )
        return Statement(sql, range_of(question), SessionSum, Cost.ROLLUP)
    condition, bound = conditions(question)
    grouped = periods(question.grouping, "started_at")
    sql = _SUM_SESSIONS.format(
        label=grouped.label,
        keys=grouped.keys,
        order=grouped.order,
        more=_MORE if extended else "",
        within=SESSIONS_WITHIN,
        conditions=condition,
    )
    parameters, cost = {**range_of(question), **bound}, cost_of(question, Cost.ROWS)
    if extended:
        return Statement(sql, parameters, SessionStats, cost)
    return Statement(sql, parameters, SessionSum, cost)
