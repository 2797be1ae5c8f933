"""The endpoints: a request becomes a question, what was found becomes an answer.

In: a store, and how fresh it is. Out: routes. Never: a rule of its own about a question;
those stand in `table`, `parameters` and `answers`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from contracts.timestamps import format_timestamp
from query.answers import Answer, encode_error
from query.formats import MEDIA_TYPES, STREAMED, with_format, write
from query.freshness import Freshness
from query.known import Known, takes_long
from query.parameters import refuse_timezone
from query.question import NO_LIMIT, Question
from query.question import Refusal as RefusedQuestion
from query.store import (
    Excess,
    ExcessiveError,
    Store,
    StoreUnavailableError,
    UnknownTimezoneError,
)
from query.table import ENTRIES, Entry
from runtime.access.guards import Guard, Refusal

RETRY_AFTER_S = 1
TOO_MUCH, TOO_SLOW = "too_much", "too_slow"
NARROWER = "narrow start_date and end_date, or name a user_id"
NEXT, COMPLETE_FROM = "next", "complete_from"

_JSON = "application/json"
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What endpoints work with: the store, for how many days it keeps events, how fresh it is, and
    what is known of earlier answers.
    """

    store: Store
    events_days: int
    freshness: Freshness
    known: Known


def create_routes(desk: Desk, guard: Guard) -> list[BaseRoute]:
    """Return the questions, behind a guard."""
    return [Route(each.path, _behind(guard, _endpoint(each, desk))) for each in ENTRIES]


def create_health_routes(store: Store) -> list[BaseRoute]:
    """Return `/livez`, which depends on nothing, and `/readyz`, which asks ClickHouse."""

    async def live(_: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type=_JSON)

    async def ready(_: Request) -> Response:
        if await store.is_ready():
            return Response(b'{"status":"ok"}', media_type=_JSON)
        return _unavailable("Not ready")

    return [Route("/livez", live), Route("/readyz", ready)]


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error in the one shape of all errors."""
    return Response(encode_error(code, message), status, headers, media_type=_JSON)


def _behind(guard: Guard, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint for those who may come in."""

    async def check(request: Request) -> Response:
        caller = guard.check(request.scope, dict(request.scope["headers"]))
        if isinstance(caller, Refusal):
            response = error_response(caller.status, caller.code, caller.message)
        else:
            response = await endpoint(request)
        response.raw_headers += caller.answer_headers
        return response

    return check


def _endpoint(entry: Entry, desk: Desk) -> Endpoint:
    async def answer(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        question = entry.parse(with_format(request.query_params.multi_items(), accept))
        if isinstance(question, RefusedQuestion):
            return error_response(400, question.code, question.message)
        try:
            if question.limit == NO_LIMIT:
                return await _stream(entry, desk, question)
            return await _while_wanted(request, _answer(entry, desk, question, request))
        except UnknownTimezoneError:
            refusal = refuse_timezone()
            return error_response(400, refusal.code, refusal.message)
        except ExcessiveError as error:
            return excessive(error.excess)
        except StoreUnavailableError:
            return _unavailable(entry.failure)

    return answer


def excessive(excess: Excess) -> Response:
    """Return the answer to a question that took more than one may."""
    if excess is Excess.TIME:
        return error_response(503, TOO_SLOW, f"The answer takes too long; {NARROWER}", _RETRY_AFTER)
    what = "rows" if excess is Excess.ROWS else "memory"
    return error_response(400, TOO_MUCH, f"The answer needs too much {what}; {NARROWER}")


async def _answer(entry: Entry, desk: Desk, question: Question, request: Request) -> Response:
    # Before the question: what comes in meanwhile may be counted, and is not promised.
    fresh = _freshness(desk.freshness)
    statement = entry.state(question)
    if takes_long(question):
        rows: Sequence[Any] = await desk.known.ask(entry.state, question)
    else:
        rows = await desk.store.ask(statement)
    answer = entry.tell(rows, question)
    told = {NEXT: str(answer.next)} if answer.next else {}
    if statement.of_events:
        told |= _told_of_days(question, desk.events_days)
    body = write(answer, question.format, told)
    headers = {"Vary": "Accept", **_link(request, answer), **fresh}
    if COMPLETE_FROM in told:
        headers["Complete-From"] = told[COMPLETE_FROM]
    if _is_over(question):
        headers["ETag"] = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[question.format])


class _Stream(StreamingResponse):
    """An answer in pieces; what they come from is closed also if the first is never asked for."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        ends: AsyncExitStack,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._ends = ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; of a HEAD the headers alone, without reading what nobody gets."""
        async with self._ends:
            if scope["method"] == "HEAD":
                self.body_iterator = _nothing()
            await super().__call__(scope, receive, send)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


async def _stream(entry: Entry, desk: Desk, question: Question) -> Response:
    """Return an answer that is sent as ClickHouse writes it, however long it is."""
    ends = AsyncExitStack()
    fresh = _freshness(desk.freshness)
    pieces = await ends.enter_async_context(
        desk.store.stream(entry.state(question), STREAMED[question.format])
    )

    return _Stream(pieces, ends, fresh, MEDIA_TYPES[question.format])


async def _while_wanted(request: Request, answering: Awaitable[Response]) -> Response:
    """Return the answer; end the work for it where the client goes away first."""
    work = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        # Nobody reads this answer.
        return _unavailable("The client has gone")
    finally:
        for each in (work, gone):
            each.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _freshness(freshness: Freshness) -> dict[str, str]:
    """Return up to when everything that was received is counted, and how long ago that is."""
    as_of_ms = freshness.as_of_ms
    if not as_of_ms:
        return {}
    lag_ms = max(0, time.time_ns() // 1_000_000 - as_of_ms)
    return {"Track-As-Of": format_timestamp(as_of_ms), "Track-Lag": f"{lag_ms / 1000:.3f}"}


def _told_of_days(question: Question, kept_days: int) -> dict[str, str]:
    """Return the first day of which all events are still kept, if the range begins before it."""
    complete_from = (datetime.now(UTC) - timedelta(days=kept_days - 1)).date()
    return {COMPLETE_FROM: complete_from.isoformat()} if question.start < complete_from else {}


def _link(request: Request, answer: Answer) -> dict[str, str]:
    if answer.next is None:
        return {}
    pairs = [each for each in request.query_params.multi_items() if each[0] != "cursor"]
    query = urlencode([*pairs, ("cursor", str(answer.next))])
    return {"Link": f'<{request.url.path}?{query}>; rel="next"'}


def _is_over(question: Question) -> bool:
    """Whether the range has ended, so that its numbers only change if something comes late."""
    return question.end < datetime.now(ZoneInfo(question.timezone)).date()


_RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_S)}


def _unavailable(message: str) -> Response:
    return error_response(503, "unavailable", message, _RETRY_AFTER)
