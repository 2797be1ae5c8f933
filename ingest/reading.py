"""Bodies as they arrive: whole or piece by piece, within their limits.

In: an ASGI `receive`, the headers, what the route takes. Out: the body, or the answer to one that
is too long, too slow or not what it says it is; None where it broke off, and nobody waits for an
answer. Never: a body that takes longer than its route allows, or unfolds to more than there is
room for.

One task gives up all that is slow: a timer for each request would cost more than reading its body.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, current_task
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Message, Receive

from ingest.answers import OVERLOADED, Answer, Problem, error
from ingest.encodings import Unfolding, unfolding_of
from ingest.requests import BATCH_WITHIN_S, BODY_WITHIN_S, Bodies

TakePiece = Callable[[bytes], Answer | None]
# Bodies that unfold to more than a part; each takes up to 50 ms, and those that wait a few seconds.
MOST_UNFOLDING = 64
_GZIP = b"\x1f\x8b"
_SLOW = {
    within_s: error(Problem.BODY_TOO_SLOW, f"The body did not arrive within {within_s} seconds")
    for within_s in (BODY_WITHIN_S, BATCH_WITHIN_S)
}


class Hold:
    """Bytes of a body that unfolded and is still needed; `Reader.release` gives them back."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Reader:
    """Reads the bodies of a process; compressed ones take at most `most_bytes` at once."""

    def __init__(self, most_bytes: int) -> None:
        self._free_bytes = most_bytes
        self._turn = asyncio.Lock()
        self._unfolding = 0
        self._expires: dict[Any, int] = {}
        self._second = 0

    async def expire_slow_bodies(self) -> None:
        """Give up, once a second and for ever, the requests whose body has taken too long."""
        while True:
            await asyncio.sleep(1)
            self._second += 1
            now = self._second
            for task in [each for each, second in self._expires.items() if second < now]:
                del self._expires[task]
                task.cancel()

    def release(self, hold: Hold) -> None:
        """Give back the bytes of a body that is not needed any more."""
        self._free_bytes += hold.bytes
        hold.bytes = 0

    async def read(
        self,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        bodies: Bodies,
        hold: Hold | None = None,
    ) -> bytes | Answer | None:
        """Return the body as a whole.

        What it unfolds to counts until it is returned, or, with a `hold`, until that is released.
        """
        task: Any = current_task()
        self._expires[task] = self._second + bodies.within_s
        try:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body: bytes = message["body"]
            encoding = headers.get(b"content-encoding")
            if encoding is None and bodies.may_be_gzip and body[:2] == _GZIP:
                encoding = b"gzip"
            if encoding is not None:
                unfolding = unfolding_of(encoding, bodies.most_bytes)
                if unfolding is not None:
                    return await self._read_unfolding(unfolding, message, receive, bodies, hold)
            if message["more_body"]:
                return await _read_on(body, receive, bodies)
        except CancelledError:
            if task in self._expires:
                raise  # somebody else cancelled it: the server ends
            task.uncancel()
            return too_slow(bodies)
        finally:
            self._expires.pop(task, None)
        return body if len(body) <= bodies.most_bytes else bodies.over_limit

    async def read_pieces(
        self, receive: Receive, headers: Mapping[bytes, bytes], bodies: Bodies, take: TakePiece
    ) -> bytes | Answer | None:
        """Give the body to `take` as it comes, unfolded; an answer of its own ends the reading.

        Returns nothing more than b"" where the body has come to its end.
        """
        task: Any = current_task()
        self._expires[task] = self._second + bodies.within_s
        try:
            return await self._pass_on(receive, headers, bodies, take)
        except CancelledError:
            if task in self._expires:
                raise
            task.uncancel()
            return too_slow(bodies)
        finally:
            self._expires.pop(task, None)

    async def _pass_on(
        self, receive: Receive, headers: Mapping[bytes, bytes], bodies: Bodies, take: TakePiece
    ) -> bytes | Answer | None:
        unfolding = unfolding_of(headers.get(b"content-encoding", b""), bodies.most_bytes)
        size = 0
        while (message := await receive())["type"] != "http.disconnect":
            piece: bytes = message["body"]
            size += len(piece)
            if size > bodies.most_bytes:
                return bodies.over_limit
            if unfolding is None:
                answer = take(piece)
            else:
                answer = await self._unfold(unfolding, piece, lambda: take(unfolding.take()))
            if answer is not None:
                return answer
            if not message["more_body"]:
                return b"" if unfolding is None else unfolding.finish()
        return None

    async def _read_unfolding(
        self,
        unfolding: Unfolding,
        message: Message,
        receive: Receive,
        bodies: Bodies,
        hold: Hold | None,
    ) -> bytes | Answer | None:
        """Return what a compressed body unfolds to; what it takes meanwhile is counted."""
        size, held = 0, hold or Hold()

        def count() -> None:
            self._free_bytes -= unfolding.size - held.bytes
            held.bytes = unfolding.size

        try:
            while message["type"] != "http.disconnect":
                piece: bytes = message["body"]
                size += len(piece)
                if size > bodies.most_bytes:
                    return bodies.over_limit
                answer = await self._unfold(unfolding, piece, count)
                if answer is not None:
                    return answer
                if not message["more_body"]:
                    return unfolding.finish()
                message = await receive()
        finally:
            if hold is None:
                self.release(held)
        return None

    async def _unfold(
        self, unfolding: Unfolding, piece: bytes, take: Callable[[], Answer | None]
    ) -> Answer | None:
        """Unfold a piece and have each part of it taken; return the answer that ends the reading.

        Other requests have their turn between two parts. Past its first part only one body is
        unfolded at a time: of all at once none might find room for its end.
        """
        answer = unfolding.feed(piece, self._free_bytes) or take()
        if answer is not None or not unfolding.has_more:
            return answer
        if self._unfolding == MOST_UNFOLDING:
            return OVERLOADED
        self._unfolding += 1
        try:
            async with self._turn:
                while answer is None and unfolding.has_more:
                    await asyncio.sleep(0)
                    answer = unfolding.go_on(self._free_bytes) or take()
        finally:
            self._unfolding -= 1
        return answer


def too_slow(bodies: Bodies) -> Answer:
    """Return the answer to a body that did not arrive in time."""
    return _SLOW[bodies.within_s]


async def _read_on(body: bytes, receive: Receive, bodies: Bodies) -> bytes | Answer | None:
    """Return the whole of a body that comes in pieces."""
    pieces, size, more = [body], len(body), True
    while more and size <= bodies.most_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        more = message["more_body"]
        pieces.append(message["body"])
        size += len(message["body"])
    return b"".join(pieces) if size <= bodies.most_bytes else bodies.over_limit
