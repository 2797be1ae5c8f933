"""What the clients are given to send: plays and stops, of which every two are a session.

In: a word, how many pairs, how many users, and when they begin. Out: events, two and two of one
user. Never: two sessions of a user at the same time, so that they pair whatever the order of their
batches.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypedDict

_BEGIN = datetime(2025, 1, 18, 6, tzinfo=UTC)
_APART_S = 10
_LENGTHS = 7  # a session has 1 s to 7 s
_NAMES = uuid.UUID("8d5c2f7a-7c2b-4b5e-9a63-0f4c1f1f2d11")


class Sent(TypedDict):
    """An event as the programs read it; `at` is RFC 3339, `n` goes among the properties."""

    id: str
    user: str
    event: str
    at: str
    n: int


def pairs(word: str, count: int, users: int, begin: datetime = _BEGIN) -> list[Sent]:
    """Return a play and a stop for each pair, the pairs going round the users."""
    return [
        event
        for number in range(count)
        for event in _pair(
            word,
            number,
            f"{word}-{number % users}",
            begin + timedelta(seconds=_APART_S * (number // users)),
        )
    ]


def _pair(word: str, number: int, user: str, play: datetime) -> list[Sent]:
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
    """Return the `data` of GET /metrics for these events."""
    days: dict[str, Counter[str]] = defaultdict(Counter)
    for each in events:
        days[day_of(each)][each["event"]] += 1
    return [{"date": day, **dict(sorted(counts.items()))} for day, counts in sorted(days.items())]


def sessions_of(events: Iterable[Sent]) -> list[dict[str, object]]:
    """Return the `data` of GET /sessions for the pairs of which both events are there."""
    by_number: dict[int, list[Sent]] = defaultdict(list)
    for each in events:
        by_number[each["n"]].append(each)
    days: dict[str, list[int]] = defaultdict(list)
    for both in by_number.values():
        if len(both) == 2:
            play, stop = sorted(both, key=lambda each: each["at"])
            days[day_of(play)].append(_seconds_between(play, stop))
    return [
        {
            "date": day,
            "totalDuration": sum(lengths),
            "sessionCount": len(lengths),
            "averageDuration": int(sum(lengths) / len(lengths) + 0.5),
        }
        for day, lengths in sorted(days.items())
    ]


def day_of(event: Sent) -> str:
    """Return the day that an event counts on."""
    return event["at"][:10]


def _seconds_between(play: Sent, stop: Sent) -> int:
    began, ended = (datetime.fromisoformat(each["at"]) for each in (play, stop))
    return (ended - began).seconds
