"""A part of a topic's partition, read in pieces.

In: a consumer of committed records, a range of offsets. Out: all records of the range, in pieces
whose ends touch. Never: a wait without an end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.startup import ServerAwayError

PIECE_RECORDS = 50_000
_FETCH_WAIT_MS = 200
STALLED_S = 30.0


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of a range of offsets, both ends inclusive; offsets may be missing inside."""

    first: int
    last: int
    records: list[Any]


async def read_pieces(
    consumer: AIOKafkaConsumer,
    where: TopicPartition,
    first: int,
    end: int,
    *,
    stalled_s: float = STALLED_S,
) -> AsyncGenerator[Piece, None]:
    """Give the records from `first` to before `end`, which must lie within the log.

    Raises:
        ServerAwayError: Kafka has given nothing for a while.
    """
    # aiokafka's fetcher does not hear of its end while it takes up an assignment: one that nothing
    # is read from, right before the end, would let it wait for ever.
    if first >= end:
        return
    consumer.assign([where])
    consumer.seek(where, first)
    position, records, moved = first, list[Any](), time.monotonic()
    while position < end:
        fetched = await consumer.getmany(
            where, timeout_ms=_FETCH_WAIT_MS, max_records=PIECE_RECORDS - len(records)
        )
        records += (each for each in fetched.get(where, ()) if each.offset < end)
        before, position = position, await consumer.position(where)
        if position > before:
            moved = time.monotonic()
        elif time.monotonic() - moved > stalled_s:
            raise ServerAwayError(
                f"Kafka gave nothing of {where.topic}/{where.partition} from offset {position} on "
                f"for {stalled_s:g} seconds. Start it, or see what holds it back; then run this "
                "again."
            )
        if len(records) >= PIECE_RECORDS or position >= end:
            last = min(position, end) - 1
            yield Piece(first, last, records)
            first, records = last + 1, []
