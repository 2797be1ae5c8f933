"""The protocol of connections some of whose requests are answered at once.

In: connections. Out: exchanges, to whoever answers them. Never: a bound of `HTTPProtocol` that does
not hold here.

A POST to one of the routes that are answered at once is an `Exchange` if it comes as a whole while
nothing else is under way. Where it does not, it becomes one of uvicorn's in the same turn, and
nobody has seen it. What begins with a known head, and ends with its body, is not even parsed.
"""

from __future__ import annotations

from typing import Any, cast

from runtime.http.exchanges import HEAD_END, AtOnce, Exchange, KnownHead
from runtime.http.patience import FOR_EVER
from runtime.http.protocol import LEAST_FREE_BYTES, HTTPProtocol

# What is longer is not held twice, and gains little.
MOST_BYTES = 8 * 1024


class AtOnceProtocol(HTTPProtocol):
    """One connection; `at_once` is what the process answers at once."""

    def __init__(self, *arguments: Any, at_once: AtOnce, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._at_once = at_once
        self._is_between = True  # two requests
        self._is_short = True
        self._exchange: Exchange | None = None  # whose body is still to come
        self._before: Any = None  # what was in its place

    def feed(self, data: bytes) -> None:
        """Take a slice of what has come; what is not whole at its end goes through ASGI."""
        self._is_short = len(data) <= MOST_BYTES
        if self._is_between and self._is_short:
            self._begin_with(data)
        else:
            super().feed(data)
        if self._exchange is not None and self._last_words is None:
            self._go_through_asgi(self._exchange)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._is_between = False
        super().on_message_begin()

    def begin_request(self) -> None:
        """Begin an exchange, or let the application begin."""
        if (
            self.url not in self._at_once.answers
            or self.parser.get_method() != b"POST"
            or not self._is_short
            or not self._is_free()
        ):
            super().begin_request()
            return
        self.scope["method"] = "POST"
        keep_alive = (
            self.parser.should_keep_alive()
            and self.parser.get_http_version() != "1.0"
            and not self._patience.is_ending
        )
        exchange = Exchange(self, self.scope, dict(self.headers), keep_alive=keep_alive)
        self._exchange = exchange
        self._before = self._put(exchange)

    def on_message_complete(self) -> None:
        """Let a request that is whole be answered, unless its answer has gone already."""
        self._is_between = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.more_body = False
            if self._at_once.answers[self.url](exchange):
                self._before = None
                return
            self._go_through_asgi(exchange)
        super().on_message_complete()

    def _begin_with(self, data: bytes) -> None:
        """Take what has come behind a whole request."""
        head, end, body = data.partition(HEAD_END)
        known = self._at_once.heads.get(head) if end else None
        if known is not None and known.length == len(body) and self._is_answered(known, body):
            return
        before = self.cycle
        super().feed(data)
        cycle = self.cycle
        if cycle is not before and isinstance(cycle, Exchange):
            self._at_once.remember(self.url, head, body, cycle)

    def _is_answered(self, known: KnownHead, body: bytes) -> bool:
        """Let a request whose head is known be answered, unless there is more to it."""
        if (
            self._budget.free < LEAST_FREE_BYTES
            or self._objection is not None
            or self._last_words is not None
            or self._patience.is_ending
            or not self._is_free()
        ):
            return False
        scope = {"type": "http", "headers": known.lines, "client": self.client}
        exchange = Exchange(self, scope, known.headers, body=body)
        exchange.more_body = False
        before = self._put(exchange)
        size = len(body)
        self._budget.free -= size
        self._held_bytes += size
        self.deadline = FOR_EVER
        if self._at_once.answers[known.target](exchange):
            return True
        self._budget.free += size
        self._held_bytes -= size
        self.cycle = before
        return False

    def _is_free(self) -> bool:
        """Tell whether nothing is under way, and an answer could go out."""
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused

    def _put(self, exchange: Exchange) -> Any:
        """Let the exchange be what is under way; return what was before it."""
        before, self.cycle = self.cycle, cast(Any, exchange)
        return before

    def _go_through_asgi(self, exchange: Exchange) -> None:
        """Let the application begin, with what has come of the body."""
        self.cycle, self._before, self._exchange = self._before, None, None
        super().begin_request()
        if exchange.body:
            self.cycle.body += exchange.body
            self.cycle.message_event.set()
