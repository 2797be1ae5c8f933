"""POST /track: a body is read, checked, given an id and published; then it is answered.

In: an ASGI request. Out: 200 once Kafka has acknowledged the event, else an error that names what
is wrong. Never: a change of what was sent, beyond its id and what cannot be passed on as it is.
"""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any

from starlette.types import Receive, Scope

from contracts.events import MAX_EVENT_BYTES, Rejected, parse_event
from ingest.answers import (
    LOGGED_BODY,
    UNAVAILABLE,
    Answer,
    error,
    give,
    logged,
    logged_head,
    refused,
)
from ingest.endpoint import Endpoint, TakesEvents
from ingest.ids import EventIds, client_key, header_of
from ingest.reading import Reader
from ingest.requests import Bodies, without_body
from ingest.values import value_of, value_with_id
from runtime.access.guards import Caller, Guard, Refusal
from runtime.http.exchanges import Exchange

PATH = "/track"
BODIES = Bodies(MAX_EVENT_BYTES)


class Track(Endpoint):
    """The endpoint of single events."""

    def __init__(self, publisher: TakesEvents, guard: Guard, reader: Reader) -> None:
        super().__init__("POST", PATH)
        self._put = publisher.put
        self._check = guard.check
        self._read = reader.read
        self._next_id = EventIds().next

    async def answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> Answer | None:
        """Take an event, and return the answer; None where nobody waits for one."""
        caller = self._let_in(scope, headers)
        if not isinstance(caller, Caller):
            return without_body(caller, headers)
        body = await self._read(receive, headers, BODIES)
        if not isinstance(body, bytes):
            return body
        published = self._publish(body, headers, caller)
        del body  # a batch has a copy; this one need not wait for Kafka
        if isinstance(published, Rejected):
            return error(published.reason, published.message)
        is_logged, event_id = published
        if await is_logged:
            return logged(header_of(event_id), caller.answer_headers), LOGGED_BODY
        return UNAVAILABLE

    def answer_at_once(self, exchange: Exchange) -> bool:
        """Take an event whose request came as a whole; its answer follows Kafka's.

        False, and nothing done, where the body is to be unfolded or was to be asked for.
        """
        headers = exchange.headers
        if b"content-encoding" in headers or b"expect" in headers:
            return False
        begun = monotonic()
        try:
            answer = self._answer_later(exchange, begun)
        except Exception:  # noqa: BLE001  # as in the other way
            answer = self.failed()
        if answer is not None:
            self._refuse(exchange, answer)
        return True

    def _answer_later(self, exchange: Exchange, begun: float) -> Answer | None:
        """Publish the event, or return the answer to what is none."""
        headers = exchange.headers
        caller = self._let_in(exchange.scope, headers)
        if not isinstance(caller, Caller):
            return caller
        published = self._publish(exchange.body, headers, caller)
        exchange.body = b""  # a batch has a copy
        if isinstance(published, Rejected):
            return error(published.reason, published.message)
        is_logged, event_id = published
        end = partial(self._end, exchange, begun, event_id, caller)
        is_logged.add_done_callback(end)
        return None

    def _end(
        self,
        exchange: Exchange,
        begun: float,
        event_id: str,
        caller: Caller,
        is_logged: Future[bool],
    ) -> None:
        """Answer, since Kafka has the event or may not have it."""
        if is_logged.cancelled() or not is_logged.result():
            self._refuse(exchange, UNAVAILABLE)
            return
        self._observe(monotonic() - begun)
        exchange.answer(
            logged_head(header_of(event_id), caller.answer_headers), LOGGED_BODY["body"]
        )

    def _refuse(self, exchange: Exchange, answer: Answer) -> None:
        self.refusals[answer[0]["reason"]] += 1
        give(answer, exchange)

    def _let_in(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Caller | Answer:
        """Return who sends an event, or the answer to whoever may not, or not so."""
        caller = self._check(scope, headers)
        if isinstance(caller, Refusal):
            return refused(caller)
        return BODIES.refusal_of(headers, scope["headers"]) or caller

    def _publish(
        self, body: bytes, headers: Mapping[bytes, bytes], caller: Caller
    ) -> tuple[Future[bool], str] | Rejected:
        event = parse_event(body)
        if isinstance(event, Rejected):
            return event
        event_id = event.event_id or self._identify(headers)
        if isinstance(event_id, Rejected):
            return event_id
        value = value_of(body, event) if event.event_id else value_with_id(body, event, event_id)
        return self._put(event.user_id, value, caller.record_headers), event_id

    def _identify(self, headers: Mapping[bytes, bytes]) -> str | Rejected:
        """Return the id of an event whose body has none: the client's key, else a new one."""
        key = client_key(headers)
        return self._next_id(time.time_ns() // 1_000_000) if key is None else key
