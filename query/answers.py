"""The answers of /metrics and /sessions, and of everything that goes wrong, as bytes.

In: what was counted. Out: JSON whose keys stand in the documented order. Never: a float, where a
sum of milliseconds is rounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from query.store import EventCount, SessionSum

_encode = msgspec.json.Encoder().encode


Whole = Annotated[int, Meta(ge=0)]


class SessionPeriod(msgspec.Struct, gc=False):
    """A period in the answer of /sessions, durations in seconds."""

    date: str
    totalDuration: Whole  # noqa: N815  # the API's name
    sessionCount: Whole  # noqa: N815
    averageDuration: Whole  # noqa: N815


def encode_metrics(counts: Iterable[EventCount]) -> bytes:
    """Return the answer of /metrics: a period's date, then its events in the order given."""
    periods: list[dict[str, str | int]] = []
    last = None
    for count in counts:
        if count.period != last:
            last = count.period
            periods.append({"date": last.isoformat()})
        periods[-1][count.event] = count.events
    return _encode({"status": "success", "data": periods})


def encode_sessions(sums: Iterable[SessionSum]) -> bytes:
    """Return the answer of /sessions, durations in whole seconds."""
    periods = [
        SessionPeriod(
            date=each.period.isoformat(),
            totalDuration=round_half_up(each.duration_ms, 1000),
            sessionCount=each.sessions,
            averageDuration=round_half_up(each.duration_ms, 1000 * each.sessions),
        )
        for each in sums
    ]
    return _encode({"status": "success", "data": periods})


def encode_error(code: str, message: str) -> bytes:
    """Return the body of an error."""
    return _encode({"status": "error", "code": code, "message": message})


def round_half_up(numerator: int, denominator: int) -> int:
    """Return numerator / denominator, neither negative, as the nearest integer, halves upwards.

    >>> round_half_up(1500, 1000), round_half_up(2499, 1000)
    (2, 2)
    """
    return (2 * numerator + denominator) // (2 * denominator)
