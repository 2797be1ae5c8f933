"""What the clients are given to send: plays and stops, of which every two are a session.

In: a word, how many pairs, how many users. Out: events, two and two of one user. Never: two
sessions of a user at the same time, so that they pair whatever the order of their batches.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypedDict

DAY = "2025-01-18"
_BEGIN = datetime(2025, 1, 18, 6, tzinfo=UTC)
_APART_S = 30
_LENGTHS = 7  # a session has 1 s to 7 s
_NAMES = uuid.UUID("8d5c2f7a-7c2b-4b5e-9a63-0f4c1f1f2d11")


class Sent(TypedDict):
    """An event as the programs read it; `at` is RFC 3339, `n` goes among the properties."""

    id: str
    user: str
    event: str
    at: str
    n: int


def pairs(word: str, count: int, users: int) -> list[Sent]:
    """Return a play and a stop for each pair, the pairs going round the users."""
    return [
        event
        for number in range(count)
        for event in _pair(word, number, f"{word}-{number % users}", number // users)
    ]


def _pair(word: str, number: int, user: str, place: int) -> list[Sent]:
    play = _BEGIN + timedelta(seconds=_APART_S * place)
    return [
        {
            "id": str(uuid.uuid5(_NAMES, f"{word}/{number}/{name}")),
            "user": user,
            "event": name,
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "n": number,
        }
        for name, at in (("play", play), ("stop", play + timedelta(seconds=1 + number % _LENGTHS)))
    ]


def metrics_of(events: Iterable[Sent]) -> list[dict[str, object]]:
    """Return the `data` of GET /metrics for the day of these events."""
    names = [each["event"] for each in events]
    counts = {name: names.count(name) for name in sorted(set(names))}
    return [{"date": DAY, **counts}] if counts else []


def sessions_of(events: Iterable[Sent]) -> list[dict[str, object]]:
    """Return the `data` of GET /sessions for the pairs of which both events are there."""
    by_number: dict[int, list[datetime]] = defaultdict(list)
    for each in events:
        by_number[each["n"]].append(datetime.fromisoformat(each["at"]))
    lengths = [(max(both) - min(both)).seconds for both in by_number.values() if len(both) == 2]
    if not lengths:
        return []
    average = int(sum(lengths) / len(lengths) + 0.5)
    return [
        {
            "date": DAY,
            "totalDuration": sum(lengths),
            "sessionCount": len(lengths),
            "averageDuration": average,
        }
    ]
