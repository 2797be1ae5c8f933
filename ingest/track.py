"""POST /track: a body is read, checked, given an id and published; then it is answered.

In: an ASGI request. Out: 200 once Kafka has acknowledged the event, else an error that names what
is wrong. Never: a change of what was sent, beyond its id and what cannot be passed on as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import CancelledError, Future, current_task
from collections import Counter
from time import monotonic
from typing import Any, Protocol

import msgspec
from starlette.types import Message, Receive, Scope, Send

from contracts.events import (
    MAX_EVENT_BYTES,
    Event,
    Reason,
    Rejected,
    check_event_id,
    encode_event,
    parse_event,
)
from contracts.metrics import ACKNOWLEDGEMENT
from ingest.answers import LOGGED_BODY, UNAVAILABLE, Answer, Problem, error, logged, refused
from ingest.encodings import Unfolding, unfolding_of
from ingest.ids import EventIds, header_of, parse_idempotency_key
from ingest.requests import (
    UNSUPPORTED_ENCODING,
    has_several_encodings,
    refusal_of,
    without_body,
)
from runtime.access.guards import Caller, Guard, Refusal
from runtime.monitoring.measures import Histogram

BODY_WITHIN_S = 10

TOO_SLOW = error(Problem.BODY_TOO_SLOW, f"The body did not arrive within {BODY_WITHIN_S} seconds")
OVER_LIMIT = error(Reason.TOO_LARGE, f"The body has more than {MAX_EVENT_BYTES} bytes")
OVERLOADED = error(Problem.OVERLOADED, "Too much is under way here; send it again in a moment")
FAILED = error(Problem.INTERNAL_ERROR, "Something went wrong here")

_log = logging.getLogger(__name__)
_encode_text = msgspec.json.Encoder().encode


class Publisher(Protocol):
    """What the endpoint needs of the way into Kafka."""

    def put(self, user_id: str, value: bytes, headers: list[tuple[str, bytes]]) -> Future[bool]:
        """Hand over an event and its record's headers; the future says whether it is logged."""


class Track:
    """The endpoint, a bare ASGI application.

    What compressed bodies unfold to takes at most `most_bytes` at once.

    A body that does not arrive is given up by `expire_slow_bodies`: one task for all requests,
    since a timer for each would cost more than reading the body.
    """

    def __init__(self, publisher: Publisher, guard: Guard, most_bytes: int) -> None:
        self.acknowledged = Histogram(ACKNOWLEDGEMENT)
        self._observe = self.acknowledged.observe
        self.refusals: Counter[str] = Counter()
        self._put = publisher.put
        self._check = guard.check
        self._next_id = EventIds().next
        self._free_bytes = most_bytes
        self._receiving: dict[Any, int] = {}
        self._second = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = monotonic()
        headers = dict(scope["headers"])
        try:
            caller = self._check(scope, headers)
            if isinstance(caller, Refusal):
                answer: Answer | None = without_body(refused(caller), headers)
            elif (refusal := refusal_of(headers)) is not None:
                answer = without_body(refusal, headers)
            elif b"content-encoding" in headers:
                answer = await self._take_folded(scope, receive, headers, caller)
            else:
                answer = await self._take(receive, headers, caller)
        except Exception:  # noqa: BLE001  # a bug; here it still can be answered as all errors are
            _log.exception("POST /track failed")
            answer = FAILED
        if answer is None:
            return
        start, end = answer
        if end is LOGGED_BODY:
            self._observe(monotonic() - begun)
        else:
            self.refusals[start["reason"]] += 1
        await send(start)
        await send(end)

    async def expire_slow_bodies(self) -> None:
        """Give up, once a second and for ever, the requests whose body has taken too long."""
        while True:
            await asyncio.sleep(1)
            self._second += 1
            begun_by = self._second - BODY_WITHIN_S
            for task in [each for each, second in self._receiving.items() if second < begun_by]:
                del self._receiving[task]
                task.cancel()

    async def _take_folded(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], caller: Caller
    ) -> Answer | None:
        """Take an event whose body may unfold to the most that an event may have."""
        if len(headers) != len(scope["headers"]) and has_several_encodings(scope["headers"]):
            return without_body(UNSUPPORTED_ENCODING, headers)
        if self._free_bytes < MAX_EVENT_BYTES:
            return without_body(OVERLOADED, headers)
        self._free_bytes -= MAX_EVENT_BYTES
        try:
            return await self._take(receive, headers, caller)
        finally:
            self._free_bytes += MAX_EVENT_BYTES

    async def _take(
        self, receive: Receive, headers: dict[bytes, bytes], caller: Caller
    ) -> Answer | None:
        """Take an event, and return the answer; None where nobody waits for one."""
        body = await self._read(receive, headers)
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

    async def _read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | Answer | None:
        """Return the body, the answer to one that is too long or too slow, or None.

        None: it broke off, and nobody waits for an answer.
        """
        task: Any = current_task()
        self._receiving[task] = self._second
        try:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body: bytes = message["body"]
            encoding = headers.get(b"content-encoding")
            if encoding is not None and (unfolding := unfolding_of(encoding)) is not None:
                return await _read_unfolding(unfolding, message, receive)
            if message["more_body"]:
                return await _read_on(body, receive)
        except CancelledError:
            if task in self._receiving:
                raise  # somebody else cancelled it: the server ends
            task.uncancel()
            return TOO_SLOW
        finally:
            self._receiving.pop(task, None)
        return body if len(body) <= MAX_EVENT_BYTES else OVER_LIMIT

    def _publish(
        self, body: bytes, headers: dict[bytes, bytes], caller: Caller
    ) -> tuple[Future[bool], str] | Rejected:
        event = parse_event(body)
        if isinstance(event, Rejected):
            return event
        event_id = event.event_id or self._identify(headers)
        if isinstance(event_id, Rejected):
            return event_id
        if event.event_id is None:
            value = _with_id(body, event, event_id)
        else:
            value = body if type(event) is Event else encode_event(event)
        return self._put(event.user_id, value, caller.record_headers), event_id

    def _identify(self, headers: dict[bytes, bytes]) -> str | Rejected:
        """Return the id of an event whose body has none: the client's key, else a new one."""
        given = headers.get(b"idempotency-key")
        if given is None:
            return self._next_id(time.time_ns() // 1_000_000)
        key = parse_idempotency_key(given)
        if key is None:
            return Rejected(Reason.INVALID_EVENT_ID, "Idempotency-Key is not a quoted string")
        rejected = check_event_id(key)
        if rejected is not None:
            return Rejected(rejected.reason, f"Idempotency-Key is no event_id: {rejected.message}")
        return key


async def _read_on(body: bytes, receive: Receive) -> bytes | Answer | None:
    """Return the whole of a body that comes in pieces, no longer than an event may be."""
    pieces, size, more = [body], len(body), True
    while more and size <= MAX_EVENT_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        more = message["more_body"]
        pieces.append(message["body"])
        size += len(message["body"])
    return b"".join(pieces) if size <= MAX_EVENT_BYTES else OVER_LIMIT


async def _read_unfolding(
    unfolding: Unfolding, message: Message, receive: Receive
) -> bytes | Answer | None:
    """Return what a compressed body unfolds to; neither may be longer than an event."""
    size = 0
    while message["type"] != "http.disconnect":
        piece: bytes = message["body"]
        size += len(piece)
        answer = unfolding.feed(piece) if size <= MAX_EVENT_BYTES else OVER_LIMIT
        if answer is not None:
            return answer
        if not message["more_body"]:
            return unfolding.finish()
        message = await receive()
    return None


def _with_id(body: bytes, event: Event, event_id: str) -> bytes:
    """Return the event with an id: the body with a field more, where that is clear.

    Otherwise it is encoded anew: where the body was mended, or where it names the field already (a
    name that stands twice is read in two ways).
    """
    if type(event) is Event and b"event_id" not in body:
        end = body.rindex(b"}")
        return b'%b,"event_id":%b}' % (body[:end], _encode_text(event_id))
    event.event_id = event_id
    return encode_event(event)
