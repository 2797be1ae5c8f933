"""The HTTP application of query, assembled: the whole path of a question is seen here.

In: settings. Out: an ASGI application. `create_routes` and `open_store` are for a process that
serves query beside something else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from query.endpoints import Desk, create_health_routes, create_routes, error_response
from query.freshness import Freshness
from query.known import Known
from query.openapi import query_part
from query.pages import page_routes
from query.store import Store, open_store
from runtime.access.guards import open_guards
from runtime.http.openapi import document, document_route
from runtime.settings import Settings

__all__ = [
    "Desk",
    "Freshness",
    "Known",
    "create_app",
    "create_health_routes",
    "create_routes",
    "open_store",
    "page_routes",
]

_MESSAGES = {
    404: "There is nothing at this path",
    405: "The method is not allowed at this path; see Allow",
}


def create_app(settings: Settings, swagger_ui: Path | None = None) -> Starlette:
    """Return the application of a process that only answers questions.

    It starts without ClickHouse and recovers by itself: until then it answers 503.
    """
    store, guards = Store(settings), open_guards(settings)
    desk = Desk(store, settings.events_days, Freshness(settings), Known(store.ask))

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        try:
            async with guards.watched(), desk.freshness.watched():
                yield
        finally:
            await store.close()

    return Starlette(
        routes=[
            *create_routes(desk, guards.read),
            *page_routes(swagger_ui),
            *create_health_routes(store),
            document_route(document("Track: query", "Ask for counts and sessions.", query_part())),
        ],
        lifespan=running,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "HEAD", "OPTIONS"],
                allow_headers=["*"],
                expose_headers=[
                    "Retry-After",
                    "RateLimit",
                    "RateLimit-Policy",
                    "Link",
                    "ETag",
                    "Complete-From",
                    "Track-As-Of",
                    "Track-Lag",
                ],
                max_age=86_400,
            )
        ],
        exception_handlers={HTTPException: _refuse, Exception: _fail},
    )


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # what it is registered for
    phrase = HTTPStatus(error.status_code).phrase
    message = _MESSAGES.get(error.status_code, str(error.detail))
    code = phrase.lower().replace(" ", "_")
    return error_response(error.status_code, code, message, error.headers)


async def _fail(_: Request, __: Exception) -> Response:
    return error_response(500, "internal_error", "Something went wrong here")
