"""What Starlette answers beside the endpoint: health, and errors in the one shape of all errors.

In: whether the service is ready, or an exception. Out: routes and responses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Lifespan

from ingest.answers import Problem, error_body

_MESSAGES = {
    404: (Problem.NOT_FOUND, "There is nothing at this path"),
    405: (Problem.METHOD_NOT_ALLOWED, "The method is not allowed at this path; see Allow"),
}


def create_starlette(routes: Sequence[BaseRoute], lifespan: Lifespan[Starlette]) -> Starlette:
    """Return the application that answers all but events; a path is taken exactly as it is."""
    handlers = {HTTPException: _refuse, Exception: _fail}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def health_routes(is_ready: Callable[[], Awaitable[bool]]) -> list[BaseRoute]:
    """Return `/livez`, which depends on nothing, and `/readyz`."""

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> Response:
        if await is_ready():
            return JSONResponse({"status": "ok"})
        return _error(503, Problem.UNAVAILABLE, "Not ready", {"Retry-After": "1"})

    return [Route("/livez", live), Route("/readyz", ready)]


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # what it is registered for
    status = error.status_code
    code, message = _MESSAGES.get(status) or (
        HTTPStatus(status).phrase.lower().replace(" ", "_"),
        str(error.detail),
    )
    return _error(status, code, message, error.headers)


async def _fail(_: Request, __: Exception) -> Response:
    return _error(500, Problem.INTERNAL_ERROR, "Something went wrong here", None)


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None) -> Response:
    return Response(error_body(code, message), status, headers, media_type="application/json")
