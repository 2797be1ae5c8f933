"""Requests counted by route and status, and how long their answers took.

In: an ASGI application. Out: the same one, measured. Never: a route that a client makes up as a
label; a look at what is sent.

Routes that take events, which are too hot for this, count for themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.metrics import HTTP_DURATION, HTTP_REQUESTS
from runtime.monitoring.measures import Histogram, Sample

ROUTES = ("/", "/docs", "/openapi.json", "/track", "/livez", "/readyz")
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
OTHER = "other"


class Requests:
    """The requests of a process; `routes` are told apart beside those that every process has."""

    def __init__(self, routes: Iterable[str] = ()) -> None:
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._durations = {route: Histogram(HTTP_DURATION) for route in (*ROUTES, *routes, OTHER)}

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return the application with its requests counted."""

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            begun = monotonic()
            route = scope["path"] if scope["path"] in self._durations else OTHER
            method = scope["method"] if scope["method"] in METHODS else OTHER

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._answers[route, method, message["status"]] += 1
                    self._durations[route].observe(monotonic() - begun)
                await send(message)

            await app(scope, receive, note)

        return measured

    def samples(self) -> Iterator[Sample]:
        """Give what was counted."""
        for (route, method, status), count in list(self._answers.items()):
            yield HTTP_REQUESTS, (route, method, str(status)), count
        for route, durations in self._durations.items():
            yield HTTP_DURATION, (route,), durations
