"""How many sessions were under way at once: /sessions/concurrent.

In: a `Question` by hour or minute. Out: a statement over the sessions that overlap the range.

Each session is +1 where it begins and -1 where it ends; their sum up to a moment is how many are
under way. Periods begin with a 0, so that the sum is known there too.
"""

from __future__ import annotations

import msgspec

from query.question import Question
from query.statements.statement import Cost, Statement, conditions, cost_of, periods, range_of

# Sessions that began before the range and reach into it began no earlier than the first quarter of
# an hour whose longest session does.
_CONCURRENT = """
WITH
    toInt64({{begin:UInt32}}) * 1000 AS begin_ms,
    toInt64({{end:UInt32}}) * 1000 AS end_ms,
    (
        SELECT min(bucket) FROM session_stats_15m
        WHERE bucket < toDateTime({{end:UInt32}}, 'UTC')
            AND (toInt64(toUnixTimestamp(bucket)) + 900) * 1000 + toInt64(longest_ms) >= begin_ms
    ) AS earliest,
    sessions_under_way AS (
        SELECT
            greatest(toUnixTimestamp64Milli(started_at), begin_ms) AS from_ms,
            least(toUnixTimestamp64Milli(ended_at), end_ms) AS to_ms
        FROM sessions
        WHERE started_at >= earliest AND started_at < toDateTime64({{end:UInt32}}, 3, 'UTC')
            AND ended_at > toDateTime64({{begin:UInt32}}, 3, 'UTC'){conditions}
    ),
    changes AS (
        SELECT at_ms, sum(change) AS change FROM (
            SELECT edge.1 AS at_ms, edge.2 AS change
            FROM sessions_under_way
            ARRAY JOIN [(from_ms, toInt64(1)), (to_ms, toInt64(-1))] AS edge
            WHERE to_ms > from_ms
            UNION ALL
            SELECT begin_ms + toInt64(number) * {step_ms}, toInt64(0)
            FROM numbers(toUInt64(intDiv(end_ms - begin_ms + {step_ms} - 1, {step_ms})))
        ) GROUP BY at_ms
    ),
    levels AS (
        SELECT
            toDateTime(intDiv(at_ms, 1000), 'UTC') AS moment,
            sum(change) OVER (ORDER BY at_ms) AS level,
            leadInFrame(at_ms, 1, end_ms) OVER (
                ORDER BY at_ms ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            ) - at_ms AS lasts_ms
        FROM changes WHERE at_ms < end_ms
    )
SELECT {label} AS period, max(level) AS peak, sum(level * lasts_ms) AS level_ms,
    sum(lasts_ms) AS total_ms
FROM levels
GROUP BY {keys}
ORDER BY {order}
"""
# Each step that periods can begin at; offsets from UTC are whole quarters of an hour.
_MOST_STEP_MS = 900_000


class Concurrency(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The most sessions at once in a period, and what their mean over it is made of."""

    period: str
    peak: int
    level_ms: int
    total_ms: int


def count_concurrent(question: Question) -> Statement[Concurrency]:
    """Return the statement of the sessions under way in each period, those without any included."""
    condition, bound = conditions(question)
    grouped = periods(question.grouping, "moment")
    sql = _CONCURRENT.format(
        label=grouped.label,
        keys=grouped.keys,
        order=grouped.order,
        conditions=condition,
        step_ms=min(question.grouping.seconds * 1000, _MOST_STEP_MS),
    )
    return Statement(
        sql, {**range_of(question), **bound}, Concurrency, cost_of(question, Cost.ROWS)
    )
