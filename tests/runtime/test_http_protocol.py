"""The HTTP protocol over a transport in memory: gathered writes, and bounds on connections."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

import runtime.http_protocol as module
from runtime.http_protocol import HTTPProtocol

pytestmark = pytest.mark.anyio
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class MemoryTransport(asyncio.Transport):
    """A transport that keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answer_in_two_parts(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def connect(state: ServerState) -> tuple[HTTPProtocol, MemoryTransport]:
    config = uvicorn.Config(answer_in_two_parts, interface="asgi3", log_config=None)
    config.load()
    protocol = HTTPProtocol(config, state, {}, asyncio.get_running_loop())
    transport = MemoryTransport()
    protocol.connection_made(transport)
    return protocol, transport


async def test_an_answer_is_one_write() -> None:
    protocol, transport = connect(ServerState())
    for number in range(1, 3):
        protocol.data_received(REQUEST)
        await asyncio.sleep(0.01)
        assert len(transport.writes) == number
        assert transport.writes[-1].startswith(b"HTTP/1.1 200 OK\r\n")
        assert transport.writes[-1].endswith(b"\r\n\r\nok")
    protocol.connection_lost(None)


async def test_what_is_written_before_a_close_goes_out() -> None:
    protocol, transport = connect(ServerState())
    protocol.data_received(REQUEST.replace(b"Host", b"Connection: close\r\nHost"))
    await asyncio.sleep(0.01)
    assert b"".join(transport.writes).endswith(b"ok")
    assert transport.is_closed
    protocol.connection_lost(None)


async def test_what_is_not_http_is_refused() -> None:
    protocol, transport = connect(ServerState())
    protocol.data_received(b"\x16\x03\x01")
    assert transport.writes[0].startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in transport.writes[0]
    assert transport.is_closed
    protocol.connection_lost(None)


async def test_one_connection_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    state = ServerState()
    connections = [connect(state) for _ in range(3)]
    assert [transport.is_closed for _, transport in connections] == [False, False, True]
    refused = connections[2][1].writes[0]
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in refused
    for protocol, _ in connections:
        protocol.connection_lost(None)
    protocol, transport = connect(state)
    assert not transport.is_closed
    protocol.connection_lost(None)


async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_REQUEST_WITHIN_S", 0.05)
    state = ServerState()
    silent, used = connect(state), connect(state)
    silent[0].data_received(b"POST /track HTTP/1.1\r\nHost: ")
    used[0].data_received(REQUEST)
    await asyncio.sleep(0.15)
    assert silent[1].is_closed
    assert not used[1].is_closed
    for protocol, _ in (silent, used):
        protocol.connection_lost(None)
