"""Requests that came as a whole, answered without a task of their own.

In: the head and the body of a request. Out: its answer, at once or later. Never: a request of which
a part is still to come; an answer out of its turn, or a second one.

A task, the messages of ASGI and the making of a head cost more than what is done with a short
request (docs/decisions/ingest-hot-path.md). So an application may name routes that it answers by a
plain call; all other requests, and those of these routes that come in pieces, go through ASGI.

Clients send the same head again and again. What one said that was answered at once is remembered by
its bytes, so that the next one is not parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, Protocol

from starlette.types import ASGIApp

Header = tuple[bytes, bytes]

MOST_KNOWN_HEADS = 1_000
LONGEST_KNOWN_HEAD = 1_024
HEAD_END = b"\r\n\r\n"
_BEGINNING = b"POST "


class Connection(Protocol):
    """The connection of an exchange, seen from here."""

    transport: Any
    server_state: Any

    def on_response_complete(self) -> None:
        """Begin what is next."""


class _NobodyWaits:
    """In place of the event for which a task of ASGI would wait."""

    def set(self) -> None: ...


class Exchange:
    """A request that came as a whole, and the one way to answer it.

    `scope` is what ASGI says about the headers and the client, if no more; `headers` are the same
    by name. The other attributes are those that uvicorn and our protocol look at in a request under
    way.
    """

    __slots__ = (
        "_connection",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "more_body",
        "response_complete",
        "scope",
    )

    message_event: ClassVar = _NobodyWaits()

    def __init__(
        self,
        connection: Connection,
        scope: Any,
        headers: Mapping[bytes, bytes],
        *,
        keep_alive: bool = True,
        body: bytes = b"",
    ) -> None:
        self._connection = connection
        self.scope = scope
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = body
        self.more_body = True
        self.disconnected = False
        self.response_complete = False

    def answer(self, head: bytes, body: bytes, *, keep_alive: bool = True) -> None:
        """Answer with a head as `head_of` gives it and a body; nothing if the client has gone."""
        if self.disconnected:
            return
        connection = self._connection
        lines = _default_lines(connection.server_state.default_headers)
        is_last = not (keep_alive and self.keep_alive)
        if is_last:
            lines += b"connection: close\r\n"
        connection.transport.write_whole(b"%b%b\r\n%b" % (head, lines, body))
        self.response_complete = True
        if is_last:
            connection.transport.close()
        connection.on_response_complete()


_latest: list[tuple[list[Header], bytes]] = [([], b"")]

# Answers a request, or returns False and has done nothing: then it goes through ASGI.
AnswerAtOnce = Callable[[Exchange], bool]


@dataclass(frozen=True, slots=True)
class KnownHead:
    """What a head says: a target, the headers in order and by name, the length of the body."""

    target: bytes
    lines: list[Header]
    headers: Mapping[bytes, bytes]
    length: int


class AtOnce:
    """What a process answers at once: of a POST, by the target of the request."""

    __slots__ = ("answers", "heads")

    def __init__(self, answers: Mapping[bytes, AnswerAtOnce]) -> None:
        self.answers = answers
        self.heads: dict[bytes, KnownHead] = {}

    def remember(self, target: bytes, head: bytes, body: bytes, exchange: Exchange) -> None:
        """Note what a head said, if it will say the same again, whoever sends it.

        `head` and `body` are all that has come, cut where the first head ends; the connection had
        nothing before them that was not answered.
        """
        headers, length = exchange.headers, len(body)
        if (
            exchange.keep_alive
            and head.startswith(_BEGINNING)  # no empty line before it
            and len(head) <= LONGEST_KNOWN_HEAD
            and headers.get(b"content-length") == b"%d" % length  # nothing behind it
        ):
            if len(self.heads) >= MOST_KNOWN_HEADS:
                self.heads.clear()
            self.heads[head] = KnownHead(target, exchange.scope["headers"], headers, length)


@dataclass(frozen=True, slots=True)
class Application:
    """An ASGI application, and what it answers at once."""

    asgi: ASGIApp
    at_once: Mapping[bytes, AnswerAtOnce] = field(default_factory=dict)


def head_of(status: int, headers: tuple[Header, ...] | list[Header]) -> bytes:
    """Return the head of an answer without its end, so that lines can be added.

    >>> head_of(404, [(b"content-length", b"0")])
    b'HTTP/1.1 404 Not Found\\r\\ncontent-length: 0\\r\\n'
    """
    phrase = HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\n%b" % (status, phrase, lines_of(headers))


def _default_lines(headers: list[Header]) -> bytes:
    """Return uvicorn's own headers as lines; it makes a new list of them each second."""
    latest, lines = _latest[0]
    if latest is not headers:
        lines = lines_of(headers)
        _latest[0] = headers, lines
    return lines


def lines_of(headers: tuple[Header, ...] | list[Header]) -> bytes:
    """Return headers as lines."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])
