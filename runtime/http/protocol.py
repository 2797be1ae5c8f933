"""uvicorn's HTTP protocol, with bounds on what a connection may take: time, memory and company.

In: connections. Out: what uvicorn writes to them, in one call for each answer (uvicorn writes head
and body apart, and uvloop makes a system call of each). Never: a connection that is held open
without a request, a head or a queue of requests without bound, an answer out of its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from runtime.http.budget import Budget
from runtime.http.gathering_transport import GatheringTransport
from runtime.http.patience import (
    ANSWER_TAKEN_WITHIN_S,
    CLOSED_WITHIN_S,
    FOR_EVER,
    HEAD_WITHIN_S,
    IDLE_S,
    LAST_REQUEST_WITHIN_S,
    REST_WITHIN_S,
    Patience,
)
from runtime.http.refusals import (
    BUSY,
    NOT_HTTP,
    OVERLOADED,
    Objection,
    head_too_large,
    url_too_long,
)

MAX_CONNECTIONS = 10_000
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
MAX_URL_BYTES = 8 * 1024
MAX_PIPELINED = 64
MAX_PIPELINED_BYTES = 128 * 1024
_SLICE_BYTES = 16 * 1024
# With less than this free, a body is not even begun.
LEAST_FREE_BYTES = 64 * 1024
_PAUSE_BYTES = 64 * 1024
_OF_A_BODY = frozenset({b"content-length", b"transfer-encoding"})

URL_TOO_LONG = url_too_long(MAX_URL_BYTES)
HEAD_TOO_LARGE = head_too_large(MAX_HEAD_BYTES, MAX_HEADERS)
_NO_WORDS = b""


class _RefusedError(Exception):
    """The request under way is refused; it ends the parser."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


class HTTPProtocol(HttpToolsProtocol):
    """One connection.

    `budget` is what all bodies of the process may take together. `object_to` gives, for the address
    of a peer, what looks at the requests of a plain connection; None where there is nothing to
    look at.
    """

    deadline = FOR_EVER

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        patience: Patience,
        budget: Budget,
        object_to: Callable[[str], Objection | None] | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._patience = patience
        self._budget = budget
        self._held_bytes = 0
        self._object_to = object_to
        self._objection: Objection | None = None
        self._last_words: bytes | None = None
        # The scope of a request whose head comes in pieces, and the bytes of those pieces.
        self._slow_scope: object = None
        self._slow_bytes = 0
        self._queued_bytes = 0
        self._offers_upgrade = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a transport that gathers what is written, or refuse one too many."""
        gathering = GatheringTransport(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(gathering)  # type: ignore[arg-type]
        if len(self.connections) > MAX_CONNECTIONS:
            self.transport.write(BUSY)
            self.transport.close()
            self._last_words = BUSY
        if self._object_to is not None and self.scheme == "http":
            self._objection = self._object_to(self.client[0] if self.client else "")
        is_ending = self._patience.is_ending
        within_s = LAST_REQUEST_WITHIN_S if is_ending else HEAD_WITHIN_S
        self.deadline = self._patience.second + within_s

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._budget.free += self._held_bytes
        self._held_bytes = 0
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, in slices, so that each bound holds whatever comes at once."""
        if len(data) <= _SLICE_BYTES:
            self.feed(data)
            return
        for begin in range(0, len(data), _SLICE_BYTES):
            self.feed(data[begin : begin + _SLICE_BYTES])

    def feed(self, data: bytes) -> None:
        """Take a slice of what has come."""
        if self._last_words is not None:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self._go_on_without_upgrade(data[error.args[0] :])
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.answer if isinstance(cause, _RefusedError) else NOT_HTTP)
            return
        if self.scope is not None and "method" not in self.scope:
            self._wait_for_head(len(data))
        if self.pipeline:
            self._queued_bytes += len(data)
            if self._queued_bytes > MAX_PIPELINED_BYTES:
                self._refuse(_NO_WORDS)

    def on_headers_complete(self) -> None:
        """Begin a request, unless it is refused by its head."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _RefusedError(NOT_HTTP)  # what would follow is not HTTP
            self._offers_upgrade = True  # it begins when it has been read again, without the offer
            return
        if len(self.headers) > MAX_HEADERS or self._slow_scope is self.scope:
            self._check_size()
        if len(self.url) > MAX_URL_BYTES:
            raise _RefusedError(URL_TOO_LONG)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _RefusedError(_NO_WORDS)
        if self._objection is not None:
            answer = self._objection(self.url, self.headers)
            if answer is not None:
                raise _RefusedError(answer)
        if self._budget.free < LEAST_FREE_BYTES and self._has_body():
            raise _RefusedError(OVERLOADED)
        self.deadline = FOR_EVER
        self.begin_request()

    def begin_request(self) -> None:
        """Let the application begin with the request whose head is complete."""
        super().on_headers_complete()
        if self._patience.is_ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Keep a piece of a body while there is room for it, and somebody who waits for it."""
        cycle, size = self.cycle, len(body)
        if cycle.response_complete:
            return
        if size > self._budget.free:
            raise _RefusedError(OVERLOADED)
        self._budget.free -= size
        self._held_bytes += size
        cycle.body += body
        if len(cycle.body) > _PAUSE_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a body; the connection is idle if the answer has gone already."""
        if self._offers_upgrade:
            return
        cycle = self.cycle
        cycle.more_body = False
        if cycle.response_complete:
            self._renew_deadline()
        else:
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Begin the next request in line, or wait for one."""
        self.server_state.total_requests += 1
        if self.pipeline:
            if self.transport.is_closing():
                self.deadline = self._patience.second + CLOSED_WITHIN_S
            else:
                self._begin_next()
            return
        held, self._held_bytes, self._queued_bytes = self._held_bytes, 0, 0
        self._budget.free += held
        if self.transport.is_closing():
            self.deadline = self._patience.second + CLOSED_WITHIN_S
            return
        flow, cycle = self.flow, self.cycle
        flow.resume_reading()
        if cycle.body:
            cycle.body = bytearray()
        if self._last_words is not None:
            self._end(self._last_words)
        elif flow.write_paused or cycle.more_body or cycle.scope is not self.scope:
            self._renew_deadline()
        else:
            self.deadline = self._patience.second + IDLE_S

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a client that has only closed its own side; tell whether to keep this one open."""
        cycle = self.cycle
        if self.scheme != "http" or cycle is None or cycle.response_complete or cycle.more_body:
            return None
        cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """Wait no longer than a client may take to read."""
        super().pause_writing()
        self._renew_deadline()

    def resume_writing(self) -> None:
        """Go on as before."""
        super().resume_writing()
        self._renew_deadline()

    def shutdown(self) -> None:
        """Close the connection after its next answer, or soon if no request comes any more."""
        if self.cycle is None or self.cycle.response_complete:
            self.deadline = min(self.deadline, self._patience.second + LAST_REQUEST_WITHIN_S)
        else:
            self.cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Close the connection where no request is under way."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def expire(self) -> None:
        """End a connection whose time is over; at once if it is not even taking what it gets."""
        if self.transport.is_closing() or self.flow.write_paused:
            self.transport.abort()
        else:
            self.transport.close()
        self.deadline = self._patience.second + CLOSED_WITHIN_S

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol again, as if it did not.

        The parser takes what follows the head for that protocol, a body as well.
        """
        if not self._offers_upgrade:
            self._refuse(NOT_HTTP)
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                kept = [each for each in value.split(b",") if each.strip().lower() != b"upgrade"]
                value = b",".join(kept)  # noqa: PLW2901
            if name != b"upgrade":
                lines.append(b"%b: %b" % (name, value))
        self._offers_upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _wait_for_head(self, size: int) -> None:
        """Note that the head of a request has not come as a whole."""
        if self._slow_scope is not self.scope:
            self._slow_scope, self._slow_bytes = self.scope, 0
            self._renew_deadline()
            return
        self._slow_bytes += size
        if self._slow_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE)

    def _has_body(self) -> bool:
        return any(name in _OF_A_BODY for name, _ in self.headers)

    def _check_size(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            raise _RefusedError(HEAD_TOO_LARGE)

    def _renew_deadline(self) -> None:
        cycle, second = self.cycle, self._patience.second
        if self.flow.write_paused:
            self.deadline = second + ANSWER_TAKEN_WITHIN_S
        elif cycle is not None and not cycle.response_complete:
            self.deadline = FOR_EVER  # the application has deadlines of its own
        elif cycle is not None and cycle.more_body:
            self.deadline = second + REST_WITHIN_S
        elif self.scope is not None and "method" not in self.scope:
            self.deadline = second + HEAD_WITHIN_S
        else:
            self.deadline = second + (LAST_REQUEST_WITHIN_S if self._patience.is_ending else IDLE_S)

    def _begin_next(self) -> None:
        cycle, app = self.pipeline.pop()
        if self._last_words is not None and cycle.more_body:
            self._end(self._last_words)
        else:
            self._start_asgi_task(cycle, app)

    def _refuse(self, answer: bytes) -> None:
        """Read no further; say so when it is the turn of this request, and close."""
        self._last_words = answer
        cycle = self.cycle
        is_in_line = bool(self.pipeline) or (cycle is not None and not cycle.response_complete)
        if not is_in_line:
            self._end(answer)
        elif cycle.more_body and not self.pipeline:
            cycle.disconnected = True  # its body will never be whole
            cycle.message_event.set()
            self._end(answer)

    def _end(self, answer: bytes) -> None:
        """Write the last answer, and close.

        The client may be writing still. Closing now would make its side throw away the answer, so
        only this side is closed, and what comes is not looked at, until the client closes too.
        """
        if answer:
            self.transport.write(answer)
        if answer and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self.deadline = self._patience.second + CLOSED_WITHIN_S
