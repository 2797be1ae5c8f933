"""How many sessions were under way at once: /sessions/concurrent.

In: a `Question` by hour or minute. Out: a statement over the sessions that overlap the range.

The range is cut into steps. A session has a piece in the step where it begins and in the one where
it ends; in the steps between it is under way throughout, which is noted as a change where they
begin and where they end. So a session is four rows at most, however long it is, and only pieces
within one step are laid side by side. Every step has a row, so that those without a session count.
"""

from __future__ import annotations

import msgspec

from query.question import Question
from query.statements.statement import Cost, Statement, conditions, cost_of, periods, range_of

# Sessions that began before the range and reach into it began no earlier than the first quarter of
# an hour whose longest session does. Of pieces that meet, `maxIntersections` counts one at a time.
_CONCURRENT = """
WITH
    toInt64({{begin:UInt32}}) * 1000 AS begin_ms,
    toInt64({{end:UInt32}}) * 1000 AS end_ms,
    toInt64({step_ms}) AS step_ms,
    (
        SELECT min(bucket) FROM session_stats_15m
        WHERE bucket < toDateTime({{end:UInt32}}, 'UTC')
            AND (toInt64(toUnixTimestamp(bucket)) + 900) * 1000 + toInt64(longest_ms) >= begin_ms
    ) AS earliest,
    sessions_under_way AS (
        SELECT
            greatest(toUnixTimestamp64Milli(started_at) - begin_ms, 0) AS from_ms,
            least(toUnixTimestamp64Milli(ended_at), end_ms) - begin_ms AS to_ms,
            intDiv(from_ms, step_ms) AS first,
            intDiv(to_ms - 1, step_ms) AS last
        FROM sessions
        WHERE started_at >= earliest AND started_at < toDateTime64({{end:UInt32}}, 3, 'UTC')
            AND ended_at > toDateTime64({{begin:UInt32}}, 3, 'UTC'){conditions}
            AND to_ms > from_ms
    ),
    pieces AS (
        SELECT
            part,
            multiIf(part = 0, first, part = 1, first + 1, last) AS step,
            multiIf(part = 0, from_ms, part = 2, last * step_ms, 0) AS begins_ms,
            multiIf(part = 0, least(to_ms, (step + 1) * step_ms), part = 2, to_ms, 0) AS ends_ms,
            multiIf(part = 0, 0, part = 1, 1, -1) AS change
        FROM sessions_under_way
        ARRAY JOIN if(first = last, [0], [0, 1, 2]) AS part
        UNION ALL
        SELECT 0, toInt64(number), 0, 0, 0
        FROM numbers(toUInt64(intDiv(end_ms - begin_ms + step_ms - 1, step_ms)))
    ),
    steps AS (
        SELECT
            toDateTime(intDiv(begin_ms + step * step_ms, 1000), 'UTC') AS moment,
            least(step_ms, end_ms - begin_ms - step * step_ms) AS lasts_ms,
            sum(sum(change)) OVER (ORDER BY step) AS throughout,
            throughout + toInt64(maxIntersectionsIf(begins_ms, ends_ms, part != 1)) AS most,
            throughout * lasts_ms + sum(ends_ms - begins_ms) AS of_all_ms
        FROM pieces
        GROUP BY step
    )
SELECT {label} AS period, max(most) AS peak, sum(of_all_ms) AS level_ms, sum(lasts_ms) AS total_ms
FROM steps
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
