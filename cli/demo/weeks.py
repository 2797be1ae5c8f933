"""Five weeks of the music service, the same for everybody: what docs/sql.md asks about.

In: nothing. Out: days as of `day.make_day`, in a row, with users who come, come again and stay
away, and the records that a few broken producers send beside them. Never: a clock, IO, anything
left to a chance that is not seeded.

Weeks begin on Sunday. A user comes first on some day, comes again on a share of the days after it
that is its own, and one in three stays away after a while.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.demo.day import Day, Sending, User, Way, chance_of, user_day, user_id_of
from contracts.timestamps import DAY_MS

WORD = "listener"
FIRST_DAY = datetime(2025, 3, 2, tzinfo=UTC)
DAYS = 35
USERS = 400
_SEED = 1
_BY_KAFKA_EVERY = 10
_LEAVES_SHARE = 0.35


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A record that is no event, and the name of who sends it."""

    source: str
    value: bytes


def make_weeks() -> Day:
    """Return the five weeks as one long day."""
    begins_at = int(FIRST_DAY.timestamp()) * 1000
    users = tuple(User(user_id_of(WORD, index), _way(index)) for index in range(USERS))
    sendings = [
        sending
        for index, user in enumerate(users)
        for day in _days_of(chance_of(_SEED, index))
        for sending in _sent(index, user, day, begins_at)
    ]
    sendings.sort(key=lambda sending: sending.arrives_at)  # stable: a user's order stays
    return Day(begins_at, begins_at + DAYS * DAY_MS, users, tuple(sendings))


def make_spoiled() -> list[Spoiled]:
    """Return the records of the broken producers, in the order in which they are sent."""
    without_user = [
        Spoiled("billing", b'{"event":"invoice_paid","metadata":{"amount":%d}}' % (5 + n))
        for n in range(9)
    ]
    other_clock = [
        Spoiled("old-player", b'{"event":"play","user_id":"u%d","timestamp":"5 March"}' % n)
        for n in range(14)
    ]
    cut_off = [Spoiled("set-top-box", b'{"event":"play","user_id":"tv') for _ in range(4)]
    return [*without_user, *other_clock, *cut_off]


def _way(index: int) -> Way:
    return Way.KAFKA if index % _BY_KAFKA_EVERY == 3 else Way.HTTP


def _days_of(chance: random.Random) -> Iterator[int]:
    """Yield the days on which a user comes, counted from the first."""
    first = min(int(chance.expovariate(1 / 11)), DAYS - 1)
    share = chance.betavariate(1.2, 2.2)
    leaves = chance.random() < _LEAVES_SHARE
    last = first + int(chance.expovariate(1 / 6)) if leaves else DAYS - 1
    for day in range(first, min(last, DAYS - 1) + 1):
        if day == first or chance.random() < share:
            yield day


def _sent(index: int, user: User, day: int, begins_at: int) -> list[Sending]:
    chance = chance_of(_SEED, index, day)
    budget = 2 + int(chance.lognormvariate(1.2, 0.7))
    return user_day(chance, user, budget, begins_at + (day + 1) * DAY_MS)
