"""Single events at a constant rate, each timed from the moment when it was due.

    python -m tests.benchmarks.open_loop_generator URL RATE CONNECTIONS WARM_UP SECONDS

In: a base URL. Out: one line of JSON about the requests that were due after the warm-up.
Never: a request that waits for the answer to another, but for want of a free connection.

Request n is due n/RATE seconds after the beginning, whatever became of those before. A connection
carries one at a time, and what finds none free waits for one, which counts. So does what the
generator itself is late by: it looks at its clock every millisecond, and tells how late it was. All
bodies are made, and all connections opened, before the clock starts.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import deque
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from tests.benchmarks.figures import percentile
from tests.benchmarks.load_generator import make_request

_BODIES = 20_000
_TICK_S = 0.001
_LAST_ANSWERS_S = 10.0


class Timed(msgspec.Struct, frozen=True):
    """What came of the requests that count.

    `late_…` is how long after a request was due the generator noticed it; `busy` is how many then
    found no free connection.
    """

    due: int
    answered: int
    failed: int
    busy: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    late_p50_ms: float
    late_p99_ms: float
    cpu_s: float
    seconds: float


class _Connection(asyncio.Protocol):
    """A kept-alive connection that carries one request at a time."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._received = b""
        self._due = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        # An answer comes whole, or its end in a later piece; each body is one JSON object.
        if self._received.endswith(b"}"):
            is_success = self._received.startswith(b"HTTP/1.1 200")
            self._received = b""
            self._generator.note(self, self._due, is_success=is_success)

    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.note_broken()


class _Generator:
    def __init__(self, url: str, connections: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname == "127.0.0.1"
        self._port = parts.port or 80
        self._connections = connections
        self._requests = [make_request(parts.netloc) for _ in range(_BODIES)]
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._clock = time.perf_counter
        self._counts_from = 0.0
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._sent = self._answered = self._failed = self._busy = 0
        self._ends = False

    async def run(self, rate: int, warm_up_s: float, seconds: float) -> Timed:
        await self._open()
        gc.freeze()
        gc.disable()
        began, cpu = self._clock(), time.process_time()
        self._counts_from = began + warm_up_s
        total = int(rate * (warm_up_s + seconds))
        noticed = 0
        while noticed < total:
            now = self._clock()
            until = min(total, int((now - began) * rate) + 1)
            for number in range(noticed, until):
                self._begin(began + number / rate, now)
            noticed = until
            await asyncio.sleep(_TICK_S)
        used_s = time.process_time() - cpu
        await self._wait_for_answers(total)
        self._ends = True
        return self._timed(used_s, warm_up_s + seconds)

    def note(self, connection: _Connection, due: float, *, is_success: bool) -> None:
        """Note an answer; what waits for a connection gets this one."""
        self._answered += 1
        self._failed += not is_success
        if due >= self._counts_from:
            self._latencies.append(1000 * (self._clock() - due))
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    def note_broken(self) -> None:
        """No service should close a connection of a run, so the run does not count."""
        self._failed += not self._ends

    def _begin(self, due: float, now: float) -> None:
        if due >= self._counts_from:
            self._late.append(1000 * (now - due))
            self._busy += not self._free
        if self._free:
            self._send(self._free.popleft(), due)
        else:
            self._waiting.append(due)

    def _send(self, connection: _Connection, due: float) -> None:
        connection.send(self._requests[self._sent % _BODIES], due)
        self._sent += 1

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, connection = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self._port
            )
            self._free.append(connection)

    async def _wait_for_answers(self, total: int) -> None:
        deadline = time.monotonic() + _LAST_ANSWERS_S
        while time.monotonic() < deadline:
            if self._answered >= total:
                break
            await asyncio.sleep(0.01)

    def _timed(self, used_s: float, seconds: float) -> Timed:
        p50, p99, p999 = (percentile(self._latencies, share) for share in (0.5, 0.99, 0.999))
        late_p50, late_p99 = (percentile(self._late, share) for share in (0.5, 0.99))
        return Timed(
            len(self._late), len(self._latencies), self._failed, self._busy,
            p50, p99, p999, late_p50, late_p99, used_s, seconds,
        )  # fmt: skip


def main() -> None:
    """Send, then print what came of it."""
    url, rate, connections, warm_up_s, seconds = sys.argv[1:]
    generator = _Generator(url, int(connections))
    timed = uvloop.run(generator.run(int(rate), float(warm_up_s), float(seconds)))
    print(msgspec.json.encode(timed).decode(), flush=True)


if __name__ == "__main__":
    main()
