"""The events of the sessionizer's and its opponents' measurements: seeded, the same for all.

In: how many, of how many users. Out: JSON bodies by partition, in order. Four kinds of events
evenly: play, stop, pause, product_view; each with an id and three fields of metadata.
"""

from __future__ import annotations

import random
import time

import msgspec

from contracts.timestamps import format_timestamp
from contracts.topics import Partitioner

_KINDS = ("play", "stop", "pause", "product_view")
_EVENTS_PER_S = 100  # by their own timestamps


def make_events(count: int, users: int, partitions: int) -> list[list[tuple[bytes, bytes]]]:
    """Return events as (key, body) by partition; their timestamps begin a day ago."""
    chance = random.Random(1)
    names = [f"user-{chance.randrange(10**9)}" for _ in range(users)]
    partitioner = Partitioner(partitions)
    begin_ms = (int(time.time()) - 86_400) * 1000
    made: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
    for number in range(count):
        user, kind = chance.choice(names), chance.choice(_KINDS)
        timestamp_ms = begin_ms + number * 1000 // _EVENTS_PER_S
        body = make_event(user, kind, timestamp_ms, chance)
        made[partitioner.partition_of(user)].append((user.encode(), body))
    return made


def make_event(
    user: str, kind: str, timestamp_ms: int, chance: random.Random, *, with_id: bool = True
) -> bytes:
    """Return the body of one event."""
    event: dict[str, object] = {
        "event": kind,
        "user_id": user,
        "timestamp": format_timestamp(timestamp_ms),
        "metadata": {
            "song_id": f"song-{chance.randrange(1000)}",
            "device": "mobile",
            "platform": "ios",
        },
    }
    if with_id:
        event["event_id"] = f"{chance.getrandbits(128):032x}"
    return msgspec.json.encode(event)
