"""The HTTP application of ingest, assembled: the whole path is seen here.

In: settings. Out: an ASGI application. Events are taken in front of Starlette's middleware and
router, which would cost a quarter of a request's time; everything else is Starlette's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.topics import Topics
from ingest import posthog_browser, segment_browser
from ingest.batch import Batch
from ingest.cors import OpenToAllOrigins
from ingest.dialects.segment import video_names
from ingest.dialects.table import ENTRIES
from ingest.measures import samples_of
from ingest.openapi import ingest_part
from ingest.publisher import OnFailure, Publisher
from ingest.reading import Reader
from ingest.routes import create_starlette, health_routes
from ingest.track import PATH, Track
from runtime.access.guards import Guard, open_guards
from runtime.http.exchanges import Application
from runtime.http.measures import Requests
from runtime.http.openapi import document, document_route
from runtime.monitoring.measures import Sample, Source
from runtime.settings import Settings
from runtime.startup import require_log


def create_app(
    settings: Settings,
    on_failure: OnFailure,
    is_draining: Callable[[], bool],
    sources: list[Source],
) -> Application:
    """Return the application of a process that only takes events.

    `on_failure` is called once when the process cannot go on: with a `StartupError` where the log
    is not the one it should be, else with what the producer failed with. `is_draining` tells that
    the end of the process has begun. What there is to measure is added to `sources`.
    """
    requests = Requests()
    guards = open_guards(settings)
    ingest = Ingest(settings, on_failure, log_partitions(settings), guards.write)

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        async with guards.watched(), ingest.running():
            yield

    async def is_ready() -> bool:
        return ingest.is_ready and not is_draining()

    described = document("Track: ingest", "Log events.", ingest_part())
    routes = [*ingest.routes(), *health_routes(is_ready), document_route(described)]
    app = OpenToAllOrigins(create_starlette(routes, running))
    sources += [ingest.samples, requests.samples]
    return ingest.in_front_of(requests.around(app))


def log_partitions(settings: Settings) -> Callable[[], Awaitable[int]]:
    """Return what checks that the log is the one that `migrate` made, and counts its partitions."""

    async def check() -> int:
        return (await require_log(settings, clickhouse="if_reachable")).partitions

    return check


class Ingest:
    """The parts of ingest: the way into Kafka and the endpoints before it."""

    def __init__(
        self,
        settings: Settings,
        on_failure: OnFailure,
        count_partitions: Callable[[], Awaitable[int]],
        guard: Guard,
    ) -> None:
        topic = Topics.of(settings.namespace).events
        self._publisher = Publisher(settings.kafka_servers, topic, count_partitions, on_failure)
        self._reader = Reader(settings.in_flight_bytes)
        self._track = Track(self._publisher, guard, self._reader)
        renamed = (
            video_names(settings.opens, settings.closes) if settings.segment_video == "yes" else {}
        )
        self._batches = [
            Batch(each, self._publisher, guard, self._reader, renamed) for each in ENTRIES
        ]

    @property
    def is_ready(self) -> bool:
        """Whether Kafka has been reached and events are taken."""
        return self._publisher.is_ready

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect in the background; at the end send what waits, and close."""
        self._publisher.start()
        expiry = asyncio.create_task(self._reader.expire_slow_bodies())
        try:
            yield
        finally:
            expiry.cancel()
            await self._publisher.stop()

    def samples(self) -> Iterator[Sample]:
        """Give the numbers for Prometheus."""
        return samples_of(self._track, self._batches, self._publisher)

    def routes(self) -> list[BaseRoute]:
        """Return what Starlette routes to endpoints, so that other methods get their answer."""
        endpoints = (self._track, *self._batches)
        return [
            *(Route(each.path, each, methods=[each.method]) for each in endpoints),
            *segment_browser.routes(),
            *posthog_browser.routes(),
        ]

    def in_front_of(self, app: ASGIApp) -> Application:
        """Return the application that takes events itself and leaves all the rest to `app`.

        It is a plain function: a coroutine more would be paid by each request.
        """
        track = self._track
        batches = {(each.path, each.method): each for each in self._batches}

        def take(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            if scope["type"] != "http":
                return app(scope, receive, send)
            path, method = scope["path"], scope["method"]
            if path == PATH and method == "POST":
                return track(scope, receive, send)
            return batches.get((path, method), app)(scope, receive, send)

        return Application(take, {PATH.encode(): track.answer_at_once})
