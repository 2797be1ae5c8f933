"""Single events at a constant rate, in open loop: the load beside which latency is measured.

    python -m tests.benchmarks.load_generator URL RATE SECONDS

In: a base URL. Out: one line of JSON about what was sent. The schedule does not wait for answers:
an event that is due goes out over any free connection, at once or as soon as there is one. It
costs a small part of a core, which the result says.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

_CONNECTIONS = 256
_BODIES = 50_000
_KINDS = ("play", "stop", "pause", "product_view")
_TICK_S = 0.001
_LAST_ANSWERS_S = 10.0


class Sent(msgspec.Struct, frozen=True):
    """What was sent: how many, how many were answered with 200, and at what cost.

    `most_late` is how many events have waited at most for a free connection.
    """

    sent: int
    answered: int
    failed: int
    unanswered: int
    most_late: int
    cpu_s: float
    seconds: float


class _Connection(asyncio.Protocol):
    """A kept-alive connection that carries one request at a time."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._received = b""
        self._busy = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        self._busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        # The answers of POST /track, good or bad, are one JSON object.
        if self._received.endswith(b"}"):
            answered = self._received.startswith(b"HTTP/1.1 200")
            self._received, self._busy = b"", False
            self._generator.note(self, answered=answered)

    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.forget(self, unanswered=self._busy)


class _Generator:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname == "127.0.0.1"
        self._port = parts.port or 80
        self._requests = [make_request(parts.netloc) for _ in range(_BODIES)]
        self._free: list[_Connection] = []
        self._opened = 0
        self._answered = self._failed = 0

    async def run(self, rate: int, seconds: float) -> Sent:
        loop = asyncio.get_running_loop()
        sent = most_late = 0
        total, cpu, began = int(rate * seconds), time.process_time(), loop.time()
        while sent < total:
            due = min(total, int((loop.time() - began) * rate) + 1)
            while sent < due and (self._free or self._opened < _CONNECTIONS):
                connection = self._free.pop() if self._free else await self._open()
                connection.send(self._requests[sent % _BODIES])
                sent += 1
            most_late = max(most_late, due - sent)
            await asyncio.sleep(_TICK_S)
        taken_s = loop.time() - began
        await self._wait_for_answers(sent)
        used = time.process_time() - cpu
        unanswered = sent - self._answered - self._failed
        return Sent(sent, self._answered, self._failed, unanswered, most_late, used, taken_s)

    def note(self, connection: _Connection, *, answered: bool) -> None:
        self._answered += answered
        self._failed += not answered
        self._free.append(connection)

    def forget(self, connection: _Connection, *, unanswered: bool) -> None:
        """The service closes a connection that was idle for long, which is its right."""
        self._opened -= 1
        self._failed += unanswered
        if connection in self._free:
            self._free.remove(connection)

    async def _open(self) -> _Connection:
        self._opened += 1
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self), "127.0.0.1", self._port
        )
        return connection

    async def _wait_for_answers(self, sent: int) -> None:
        deadline = time.monotonic() + _LAST_ANSWERS_S
        while time.monotonic() < deadline:
            if self._answered + self._failed >= sent:
                break
            await asyncio.sleep(0.01)


def make_request(host: str) -> bytes:
    """Return a whole POST /track of a random user."""
    user, song = random.randrange(10**6), random.randrange(1000)
    body = (
        f'{{"event":"{random.choice(_KINDS)}","user_id":"load-{user}",'
        f'"metadata":{{"song_id":"song-{song}","device":"mobile","platform":"ios"}}}}'
    )
    head = f"POST /track HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def main() -> None:
    """Send, then print what was sent."""
    url, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    sent = uvloop.run(_Generator(url).run(rate, seconds))
    print(msgspec.json.encode(sent).decode(), flush=True)


if __name__ == "__main__":
    main()
