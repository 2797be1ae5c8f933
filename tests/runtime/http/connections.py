"""Connections over a transport in memory, with applications that answer them.

In: an application. Out: protocols whose writes are kept one by one. Never: a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from runtime.http.at_once import AtOnceProtocol
from runtime.http.budget import Budget
from runtime.http.exchanges import AnswerAtOnce, AtOnce
from runtime.http.patience import Patience
from runtime.http.refusals import Objection

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


async def settle() -> None:
    """Let everything go on that can: turns of the loop are counted, not time."""
    for _ in range(200):
        await asyncio.sleep(0)


class MemoryTransport(asyncio.Transport):
    """A transport that keeps what is written, write by write."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.is_closed = self.is_ended = self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        assert not self.is_ended
        self.writes.append(bytes(data))

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answer_in_two_parts(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def answer_with_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Connections:
    """Connections of one process, and its clock."""

    def __init__(
        self,
        app: Callable[..., object] = answer_in_two_parts,
        object_to: Callable[[str], Objection | None] | None = None,
        in_flight_bytes: int = 1 << 20,
        at_once: Mapping[bytes, AnswerAtOnce] | None = None,
    ) -> None:
        self.patience = Patience()
        self.budget = Budget(in_flight_bytes)
        self.state = ServerState()
        self._object_to = object_to
        self.at_once = AtOnce(at_once or {})
        self._config = uvicorn.Config(app, interface="asgi3", log_config=None)
        self._config.load()

    def protocol(self) -> AtOnceProtocol:
        return AtOnceProtocol(
            self._config,
            self.state,
            {},
            asyncio.get_running_loop(),
            patience=self.patience,
            budget=self.budget,
            object_to=self._object_to,
            at_once=self.at_once,
        )

    def connect(self, peer: str = "127.0.0.1") -> tuple[AtOnceProtocol, MemoryTransport]:
        protocol = self.protocol()
        transport = MemoryTransport(peer)
        protocol.connection_made(transport)
        return protocol, transport

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.patience.advance(self.state.connections)  # type: ignore[arg-type]
