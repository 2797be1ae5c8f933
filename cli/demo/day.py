"""A day of a music service, made up from a seed: what its users do, and in which order it arrives.

In: a seed, how many users and events, the moment at which the day ends, a word for the users' ids.
Out: the users, each with the way it sends by, and one list of sendings in order of arrival. Never:
a clock, IO, a timestamp after the day's end.

The same arguments give the same day. In it are: several plays per user; two devices at once
(overlaps); pauses, seeks, likes and searches; plays that never stop; a stop and the next play of
one instant; offline queues that arrive hours late; stops that overtake their play; sendings that
are repeated with the same `event_id`; clients that give no `event_id`; ids beyond ASCII.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from contracts.timestamps import DAY_MS, format_timestamp

MINUTE_MS = 60_000
KAFKA_SHARE = 0.1
_OFFLINE_SHARE = 0.08  # of the sittings
_SECOND_DEVICE_SHARE = 0.1
_STOP_MISSING_SHARE = 0.08
_OVERTAKEN_SHARE = 0.02  # of the users
_DOUBLED_SHARE = 0.03  # of the sendings that carry an id
_WITHOUT_IDS_SHARE = 0.25  # of the users
_LONG_NAMED_EVERY = 40
# How much is listened to in each hour of the day, UTC.
_HOURS = (4, 2, 1, 1, 1, 2, 5, 9, 11, 9, 8, 8, 9, 9, 8, 9, 11, 13, 15, 17, 18, 16, 12, 8)
_DEVICES = ("mobile", "mobile", "mobile", "desktop", "tablet", "speaker", "tv")
_ARTISTS = ("Nina Orr", "The Low Tides", "Björk & Söhne", "宇宙ラジオ", "Malik Dune", "Ada Flint")
_ASIDES = ("pause", "pause", "pause", "seek", "like", "search", "volume")


class Way(StrEnum):
    """How a user's events are sent: one way each, so that the order of its events is known."""

    HTTP = "http"
    KAFKA = "kafka"


@dataclass(frozen=True, slots=True)
class User:
    """One user of the day."""

    user_id: str
    way: Way


class Body(msgspec.Struct, omit_defaults=True):
    """The body of POST /track, as a client writes it."""

    event: str
    user_id: str
    timestamp: str
    metadata: dict[str, str | int]
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """One event on its way: `body` is sent for `user`; `repeated` tells that it was sent before."""

    arrives_at: int
    user: User
    event: str
    timestamp: int
    body: bytes
    repeated: bool


@dataclass(frozen=True, slots=True)
class Day:
    """The whole day."""

    starts_at: int
    ends_at: int
    users: tuple[User, ...]
    sendings: tuple[Sending, ...]


@dataclass(slots=True)
class _Happening:
    """What a user does, before it becomes a body."""

    at: int
    arrives_at: int
    event: str
    metadata: dict[str, str | int]


_encode = msgspec.json.Encoder().encode


def make_day(*, seed: int, users: int, events: int, ends_at: int, word: str) -> Day:
    """Make up a day of exactly so many sendings.

    Args:
        seed: decides everything that is left to chance.
        users: how many there are; each sends at least once.
        events: how many sendings there are, repeated ones included; at least one per user.
        ends_at: ms since 1970; the day is the 24 hours before it.
        word: begins every user id, so that the users of one run are nobody else's.
    """
    if not 1 <= users <= events:
        raise ValueError(f"{events} events cannot be shared among {users} users")
    chance = chance_of(seed)
    budgets = _share_out(chance, users, events)
    people = _name_users(chance, budgets, word)
    sendings = [
        sending
        for index, (user, budget) in enumerate(zip(people, budgets, strict=True))
        for sending in user_day(chance_of(seed, index), user, budget, ends_at)
    ]
    sendings.sort(key=lambda sending: sending.arrives_at)  # stable: a user's order stays
    return Day(ends_at - DAY_MS, ends_at, tuple(people), tuple(sendings))


def chance_of(*seeds: int) -> random.Random:
    """Return what decides, by these seeds."""
    return random.Random(":".join(map(str, seeds)))  # noqa: S311  # repeatable, not secret


def _share_out(chance: random.Random, users: int, events: int) -> list[int]:
    """Return how often each user sends: a few a lot, most a little, everybody once at least."""
    weights = [chance.lognormvariate(0, 0.9) for _ in range(users)]
    spare, total = events - users, sum(weights)
    budgets = [1 + int(spare * weight / total) for weight in weights]
    for index in range(events - sum(budgets)):
        budgets[index % users] += 1
    return budgets


def _name_users(chance: random.Random, budgets: list[int], word: str) -> list[User]:
    """Return the users; those who send by Kafka make up a tenth of all events."""
    order = list(range(len(budgets)))
    chance.shuffle(order)
    left, by_kafka = KAFKA_SHARE * sum(budgets), set()
    for index in order:
        if budgets[index] <= left:
            left -= budgets[index]
            by_kafka.add(index)
    return [
        User(user_id_of(word, index), Way.KAFKA if index in by_kafka else Way.HTTP)
        for index in range(len(budgets))
    ]


def user_id_of(word: str, index: int) -> str:
    """Return a user's id; one in forty is long, and not in ASCII."""
    if index % _LONG_NAMED_EVERY == 7:
        return f"{word}-Zoë 🎧 & 友達/{index}"
    return f"{word}-user-{index:05}"


def user_day(chance: random.Random, user: User, budget: int, ends_at: int) -> list[Sending]:
    """Return exactly `budget` sendings of one user, in order of arrival."""
    has_ids = chance.random() >= _WITHOUT_IDS_SHARE
    doubled = sum(chance.random() < _DOUBLED_SHARE for _ in range(budget - 1)) if has_ids else 0
    happenings: list[_Happening] = []
    if chance.random() < _OVERTAKEN_SHARE:
        happenings += _overtaken(chance, ends_at)
    while len(happenings) < budget - doubled:
        happenings += _sitting(chance, ends_at)
    del happenings[budget - doubled :]  # the one made last ends early; no time of day is preferred
    sendings = [_send(chance, user, happening, has_ids) for happening in happenings]
    again = chance.choices(sendings, k=doubled)
    sendings += [_send_again(chance, sending, ends_at) for sending in again]
    sendings.sort(key=lambda sending: sending.arrives_at)
    return sendings


def _sitting(chance: random.Random, ends_at: int) -> Iterator[_Happening]:
    """Yield what a user does in one go on one device, or on two at once."""
    begins_at = _some_moment(chance, ends_at)
    offline = chance.random() < _OFFLINE_SHARE
    online_at = begins_at + chance.randint(30, 300) * MINUTE_MS if offline else 0
    yield from _listening(chance, begins_at, ends_at, online_at)
    if chance.random() < _SECOND_DEVICE_SHARE:
        overlap = begins_at + chance.randint(5_000, 4 * MINUTE_MS)
        yield from _listening(chance, overlap, ends_at, 0)


def _some_moment(chance: random.Random, ends_at: int) -> int:
    """Return a moment of the day, likelier in the hours in which much is listened to."""
    while True:
        at = ends_at - chance.randint(MINUTE_MS, DAY_MS)
        if chance.random() * max(_HOURS) < _HOURS[at // 3_600_000 % 24]:
            return at


def _listening(
    chance: random.Random, begins_at: int, ends_at: int, online_at: int
) -> Iterator[_Happening]:
    """Yield the events of one device, which sends them in order, from `online_at` on."""
    device = chance.choice(_DEVICES)
    at, arrives_at = begins_at, min(online_at, ends_at)
    for _ in range(chance.randint(1, 9)):
        song = _song(chance, device)
        length = chance.randint(20_000, 330_000)
        moments = [(at, "play", song)]
        if chance.random() < 0.35:
            aside = chance.choice(_ASIDES)
            moments.append((at + chance.randint(1_000, length), aside, {"device": device}))
        if chance.random() >= _STOP_MISSING_SHARE:
            moments.append((at + length, "stop", song))
        for moment, event, metadata in moments:
            if moment > ends_at:
                return
            arrives_at = max(arrives_at, moment + chance.randint(20, 900))
            yield _Happening(moment, arrives_at, event, metadata)
        # The next song begins at the very instant, or after a while.
        at += length + (0 if chance.random() < 0.6 else chance.randint(500, 20 * MINUTE_MS))


def _overtaken(chance: random.Random, ends_at: int) -> Iterator[_Happening]:
    """Yield a stop and, arriving after it, the play that it overtook a moment ago."""
    song = _song(chance, "mobile")
    at = ends_at - chance.randint(60_000, 3 * MINUTE_MS)
    yield _Happening(at + 40_000, at + 40_100, "stop", song)
    yield _Happening(at, at + 41_000, "play", song)


def _song(chance: random.Random, device: str) -> dict[str, str | int]:
    number = int(chance.paretovariate(0.7)) % 5_000  # a few songs are heard by everybody
    return {
        "song_id": f"song_{number:04}",
        "artist": _ARTISTS[number % len(_ARTISTS)],
        "device": device,
        "position": chance.randint(0, 20),
    }


def _send(chance: random.Random, user: User, happening: _Happening, has_ids: bool) -> Sending:
    body = Body(
        event=happening.event,
        user_id=user.user_id,
        timestamp=format_timestamp(happening.at),
        metadata=happening.metadata,
        event_id=f"{chance.getrandbits(96):024x}" if has_ids else None,
    )
    return Sending(
        happening.arrives_at, user, happening.event, happening.at, _encode(body), repeated=False
    )


def _send_again(chance: random.Random, sending: Sending, ends_at: int) -> Sending:
    """Return the same body once more: at once, or when a client tries again much later."""
    delay = chance.choice((200, 2_000, 30_000, 30 * MINUTE_MS))
    at = max(sending.arrives_at, min(sending.arrives_at + delay, ends_at))
    return Sending(at, sending.user, sending.event, sending.timestamp, sending.body, repeated=True)
