"""uvicorn's HTTP protocol, with bounds on connections and one write an answer.

In: connections. Out: what uvicorn writes to them. Never: a connection that is held open without a
request.

uvicorn writes the head and the body of an answer apart, and uvloop makes a system call of each;
here what is written in one turn of the loop goes out in one call.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_CONNECTIONS = 10_000
FIRST_REQUEST_WITHIN_S = 10.0


def _refusal(status: bytes, code: bytes, message: bytes, header: bytes = b"") -> bytes:
    """Return a whole answer in the shape of all errors, after which the connection is closed."""
    body = b'{"status":"error","code":"%b","message":"%b"}' % (code, message)
    return (
        b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"access-control-allow-origin: *\r\nconnection: close\r\n%b\r\n%b"
        % (status, len(body), header, body)
    )


_NOT_HTTP = _refusal(b"400 Bad Request", b"invalid_request", b"This is not an HTTP request")
_BUSY = _refusal(
    b"503 Service Unavailable",
    b"unavailable",
    b"There are too many connections",
    b"access-control-expose-headers: retry-after\r\nretry-after: 1\r\n",
)


class HTTPProtocol(HttpToolsProtocol):
    """One connection."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a transport that gathers what is written, or refuse one too many."""
        gathering = GatheringTransport(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(gathering)  # type: ignore[arg-type]
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(_BUSY)
        else:
            self._patience = self.loop.call_later(FIRST_REQUEST_WITHIN_S, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(_NOT_HTTP)

    def _refuse(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def _close_if_silent(self) -> None:
        if self.cycle is None:  # the head of a request has not come
            self.transport.close()


class GatheringTransport:
    """A transport that writes once a turn of the loop; all else is the transport's behind it."""

    __slots__ = ("_loop", "_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write in this turn of the loop."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """Write what is there, then close."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the transport is closed or about to be."""
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        """Return what the transport behind has under this name."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        pieces = self._pieces
        if pieces:
            self._pieces = []
            self._transport.write(b"".join(pieces))
