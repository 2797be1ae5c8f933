"""Rows of events and sessions, made at random or by hand, and how they come into ClickHouse.

In: a source of chance. Out: rows; a table that has them. Times lie where periods begin and end.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from runtime.clickhouse import AsyncClient

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
USERS = [
    "ann", "\0", "a\0b", "😀", "q'\"`", "\\", "\\N", "\\0", "100%25", "t\ta\nb\r", "{x:String}",
    "日本", "\x7f\x01", "a b+c&d=e;--", "' OR 1=1 --", "x" * 256, "😀" * 256,
]  # fmt: skip
NAMES = ["play", "stop", "z", "Z", "é", "日本", "\0", 'a"b\\c', "😀", "\uffff"]
# Keys as clients send them, with what JSON can be; "way.down" stands inside of an object.
VALUES: dict[str, list[Any]] = {
    "song": ["a", "b", "3", "", "日本", "'\"\\\n"],
    "n": [3, 0, -7, 2**63, 0.5, 3.0, True, False, None, [1], {"x": 1}, "3", "true"],
    "it's `odd`": ["x", 1],
}
# The edges of periods, and the first quarter of an hour that there is.
EDGES = [
    0,
    1,
    int(datetime(1970, 1, 4, tzinfo=UTC).timestamp()) * 1000 - 1,
    int(datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000 + 999,
    int(datetime(2024, 12, 29, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2025, 3, 30, 1, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2025, 4, 5, 15, 15, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2025, 10, 26, 1, 30, tzinfo=UTC).timestamp()) * 1000,
]
FIRST_MS, LAST_MS = 1_704_067_200_000, 1_767_225_600_000  # 2024 and 2025
RECEIVED_AT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1000
PARTITIONS = 4
# As the writer has it.
_INSERTED: dict[str, Any] = {
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
}


class Event(msgspec.Struct):
    """A row of `events`."""

    user_id: str
    event: str
    timestamp: int
    kafka_partition: int
    kafka_offset: int
    received_at: int = RECEIVED_AT
    event_id: str = "id"
    metadata: dict[str, Any] = {}
    source: str = ""
    log_offset: int = 0


class Session(msgspec.Struct):
    """A row of `sessions`."""

    user_id: str
    started_at: int
    ended_at: int
    duration_ms: int
    kafka_partition: int
    kafka_offset: int
    received_at: int = RECEIVED_AT
    session_id: str = "id"
    attributes: dict[str, Any] = {}
    play_id: str = "p"
    stop_id: str = "s"
    log_offset: int = 0


def make_events(rng: random.Random, count: int = 1500) -> list[Event]:
    """Return events at the edges and anywhere in two years."""
    times = EDGES + [rng.randrange(FIRST_MS, LAST_MS) for _ in range(count)]
    return [
        Event(
            rng.choice(USERS),
            rng.choice(NAMES),
            at,
            offset % PARTITIONS,
            offset,
            event_id=f"e{offset}",
            metadata=make_values(rng) | {"way": {"down": rng.choice(["here", 1])}},
        )
        for offset, at in enumerate(times)
    ]


def make_sessions(rng: random.Random, count: int = 1500) -> list[Session]:
    """Return sessions that begin like those events; some take none or much time."""
    sessions = []
    for event in make_events(rng, count):
        took = rng.choice([0, 499, 500, rng.randrange(5 * HOUR_MS), rng.randrange(9 * DAY_MS)])
        at = event.timestamp
        sessions.append(
            Session(
                event.user_id,
                at,
                at + took,
                took,
                event.kafka_partition,
                event.kafka_offset,
                session_id=f"s{event.kafka_offset}",
                attributes={
                    key: value
                    for key, value in make_values(rng).items()
                    if isinstance(value, str | int | float)
                },
                play_id=event.event_id,
            )
        )
    return sessions


def make_values(rng: random.Random) -> dict[str, Any]:
    """Return metadata with some of the keys."""
    return {key: rng.choice(values) for key, values in VALUES.items() if rng.random() < 0.7}


async def insert(client: AsyncClient, table: str, rows: Iterable[msgspec.Struct]) -> None:
    """Insert rows as one block."""
    lines = b"\n".join(map(msgspec.json.encode, rows))
    await client.command(f"INSERT INTO {table} FORMAT JSONEachRow", data=lines, settings=_INSERTED)
