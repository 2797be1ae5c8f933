"""The endpoints: a request becomes a question, what was counted becomes an answer.

In: a store. Out: routes. Never: a rule of its own; those stand in `parameters` and `answers`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from query.answers import encode_error, encode_metrics, encode_sessions
from query.parameters import Question, parse_question, refuse_timezone
from query.parameters import Refusal as RefusedQuestion
from query.store import Store, StoreUnavailableError, UnknownTimezoneError
from runtime.access.guards import Guard, Refusal

RETRY_AFTER_S = 1
METRICS_FAILED = "Failed to fetch metrics"
SESSIONS_FAILED = "Failed to fetch session metrics"
DASHBOARD = Path(__file__).parent / "dashboard" / "index.html"

_JSON = "application/json"
Counted = TypeVar("Counted")
Endpoint = Callable[[Request], Awaitable[Response]]


def create_routes(store: Store, guard: Guard) -> list[BaseRoute]:
    """Return `/metrics` and `/sessions` behind a guard, and the dashboard at `/`.

    The page itself has no data, and is where a person enters a key.
    """

    async def metrics(request: Request) -> Response:
        return await _answer(request, store.count_events, encode_metrics, METRICS_FAILED)

    async def sessions(request: Request) -> Response:
        return await _answer(request, store.sum_sessions, encode_sessions, SESSIONS_FAILED)

    async def dashboard(_: Request) -> Response:
        return FileResponse(DASHBOARD, headers=_DASHBOARD_HEADERS)

    return [
        Route("/metrics", _behind(guard, metrics)),
        Route("/sessions", _behind(guard, sessions)),
        Route("/", dashboard),
    ]


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


# The page has everything inside; nothing of another origin may run or be fetched.
_DASHBOARD_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


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


async def _answer(
    request: Request,
    count: Callable[[Question], Awaitable[Counted]],
    encode: Callable[[Counted], bytes],
    failure: str,
) -> Response:
    question = parse_question(request.query_params)
    if isinstance(question, RefusedQuestion):
        return error_response(400, question.code, question.message)
    try:
        counted = await count(question)
    except UnknownTimezoneError:
        refusal = refuse_timezone()
        return error_response(400, refusal.code, refusal.message)
    except StoreUnavailableError:
        return _unavailable(failure)
    return Response(encode(counted), media_type=_JSON)


def _unavailable(message: str) -> Response:
    return error_response(503, "unavailable", message, {"Retry-After": str(RETRY_AFTER_S)})
