"""Compressed bodies that unfold to much, read at once: each in its turn, others between."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Coroutine, Sequence

from starlette.types import Message

from ingest.answers import OVERLOADED, Answer
from ingest.encodings import PART_BYTES
from ingest.reading import MOST_UNFOLDING, Hold, Reader
from ingest.requests import Bodies

PARTS = 20
BODY = b"[" + b" " * (PARTS * PART_BYTES - 2) + b"]"
PACKED = gzip.compress(BODY)
BODIES = Bodies(len(BODY))
HEADERS = {b"content-encoding": b"gzip"}
Ended = bytes | Answer | None


async def read(reader: Reader, pieces: Sequence[bytes] = (PACKED,)) -> Ended:
    """Read a body as endpoints do, which are through with it as soon as they have it."""
    messages = iter(
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, 1)
    )

    async def receive() -> Message:
        await asyncio.sleep(0)
        return next(messages)

    hold = Hold()
    try:
        return await reader.read(receive, HEADERS, BODIES, hold)
    finally:
        reader.release(hold)


async def read_pieces(reader: Reader, taken: list[bytes]) -> Ended:
    async def receive() -> Message:
        return {"type": "http.request", "body": PACKED, "more_body": False}

    return await reader.read_pieces(receive, HEADERS, BODIES, taken.append)


def read_with_turns(reading: Coroutine[None, None, Ended]) -> tuple[Ended, int]:
    """Return what was read, and how many turns somebody else had meanwhile."""

    async def run() -> tuple[Ended, int]:
        task, turns = asyncio.create_task(reading), 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        return await task, turns

    return asyncio.run(run())


def test_others_have_a_turn_between_two_parts() -> None:
    found, turns = read_with_turns(read(Reader(len(BODY))))
    assert found == BODY
    assert turns >= PARTS


def test_others_have_a_turn_between_two_parts_that_are_passed_on() -> None:
    taken: list[bytes] = []
    found, turns = read_with_turns(read_pieces(Reader(len(BODY)), taken))
    assert found == b""
    assert b"".join(taken) == BODY
    assert turns >= PARTS
    assert max(map(len, taken)) <= PART_BYTES


def test_bodies_that_come_at_once_find_room_one_after_the_other() -> None:
    """With room for one and the first part of each: unfolded side by side none would end."""
    room = len(BODY) + 1 + MOST_UNFOLDING * PART_BYTES

    async def read_all() -> list[Ended]:
        reader = Reader(room)
        return await asyncio.gather(*(read(reader) for _ in range(MOST_UNFOLDING)))

    assert asyncio.run(read_all()) == [BODY] * MOST_UNFOLDING


def test_a_body_in_two_pieces_holds_up_no_other_while_it_arrives() -> None:
    async def read_all() -> list[Ended]:
        reader = Reader(4 * len(BODY))
        halves = PACKED[: len(PACKED) // 2], PACKED[len(PACKED) // 2 :]
        each = (read(reader, pieces) for pieces in (halves, [PACKED], halves))
        return await asyncio.gather(*each)

    assert asyncio.run(read_all()) == [BODY] * 3


def test_more_than_can_wait_are_refused_and_what_was_held_is_free_again() -> None:
    async def read_all() -> tuple[list[Ended], list[Ended]]:
        reader = Reader(len(BODY) + 1 + 2 * MOST_UNFOLDING * PART_BYTES)
        many = await asyncio.gather(*(read(reader) for _ in range(MOST_UNFOLDING + 7)))
        return many, await asyncio.gather(*(read(reader) for _ in range(MOST_UNFOLDING)))

    many, again = asyncio.run(read_all())
    kinds = Counter("overloaded" if each == OVERLOADED else each == BODY for each in many)
    assert kinds == {True: MOST_UNFOLDING, "overloaded": 7}
    assert again == [BODY] * MOST_UNFOLDING


def test_one_that_is_cancelled_lets_the_next_go_on() -> None:
    async def read_two() -> tuple[bool, Ended]:
        reader = Reader(3 * len(BODY))
        first = asyncio.create_task(read(reader))
        second = asyncio.create_task(read(reader))
        for _ in range(5):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        return first.cancelled(), await second

    assert asyncio.run(read_two()) == (True, BODY)
