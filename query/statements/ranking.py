"""What happened most: /metrics/top.

In: a `Question`. Out: a statement over the rollups for names of events, over the rows themselves
for values of metadata or attributes.
"""

from __future__ import annotations

import msgspec

from query.question import Place, Question
from query.statements.statement import (
    BUCKETS_WITHIN,
    EVENTS_WITHIN,
    SESSIONS_WITHIN,
    Cost,
    Statement,
    conditions,
    cost_of,
    is_plain,
    range_of,
    value_at,
)

_TOP = """
SELECT {value} AS value, {number} AS n
FROM {table}
WHERE {within}{conditions}
GROUP BY value
ORDER BY n DESC, value
LIMIT {{limit:UInt32}}
"""
_PATH = "by_path"
_ROWS = {
    Place.EVENT: ("events", EVENTS_WITHIN),
    Place.METADATA: ("events", EVENTS_WITHIN),
    Place.ATTRIBUTES: ("sessions", SESSIONS_WITHIN),
}


class Ranked(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value, and how many events or sessions have it."""

    value: str
    n: int


def rank(question: Question) -> Statement[Ranked]:
    """Return the statement of the most frequent values, of equals the first in code-point order."""
    condition, bound = conditions(question)
    parameters = {**range_of(question), **bound, "limit": question.limit}
    place = question.by.place
    if place is Place.EVENT and not question.filters:
        table = "event_counts_15m" if question.user_id is None else "user_counts_15m"
        sql = _sql("event", "sum(events)", table, BUCKETS_WITHIN, condition)
        return Statement(sql, parameters, Ranked, cost_of(question, Cost.ROLLUP))
    value = "event"
    if place is not Place.EVENT:
        value = value_at(place, _PATH)
        condition = f"{condition} AND {is_plain(place, _PATH)}"
        parameters[_PATH] = question.by.keys
    table, within = _ROWS[place]
    sql = _sql(value, "count()", table, within, condition)
    cost, of_events = cost_of(question, Cost.ROWS), table == "events"
    return Statement(sql, parameters, Ranked, cost, of_events)


def _sql(value: str, number: str, table: str, within: str, condition: str) -> str:
    return _TOP.format(value=value, number=number, table=table, within=within, conditions=condition)
