"""HTTP services as a process: ingest, query, or both on one port.

In: settings. Out: nothing after a stop in order (a signal), exit code 70 where this process cannot
go on and a new one can, a `StartupError` where the log or the port is not as it should be. Never: a
listening socket that other processes of the service could not share.
"""

from __future__ import annotations

import gc
import logging
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp

from cli.http_server import Ending, HTTPServer
from cli.listening import open_doors
from contracts.metrics import Service
from deploy.local.downloads import fetched_swagger_ui
from ingest.app import Ingest, log_partitions
from ingest.app import create_app as create_ingest
from ingest.cors import OpenToAllOrigins
from ingest.openapi import ingest_part
from ingest.routes import create_starlette, health_routes
from query.app import Desk, Freshness, Known, create_routes, open_store, page_routes
from query.app import create_app as create_query
from query.openapi import query_part
from query.table import BY_PATH
from runtime.access.guards import open_guards, open_ring
from runtime.http.exchanges import Application
from runtime.http.exposure import require_guarded
from runtime.http.measures import Requests
from runtime.http.openapi import document, document_route
from runtime.logs import set_up_logs
from runtime.monitoring.exposition import expose
from runtime.monitoring.measures import Source
from runtime.settings import Settings
from runtime.startup import StartupError

EXIT_RESTART = 70
OPEN_FILES = 65_536

_log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve ingest and query on one port until a signal."""
    _run(Service.SERVE, settings, lambda ending, sources: _create_both(settings, ending, sources))


def run_ingest(settings: Settings) -> None:
    """Serve `POST /track` until a signal."""
    _run(
        Service.INGEST,
        settings,
        lambda ending, sources: create_ingest(
            settings, ending.fail, lambda: ending.has_begun, sources
        ),
    )


def run_query(settings: Settings) -> None:
    """Serve `/metrics` and `/sessions` until a signal."""
    _run(
        Service.QUERY,
        settings,
        lambda _, sources: Application(
            _measured(create_query(settings, fetched_swagger_ui()), sources)
        ),
    )


def _create_both(settings: Settings, ending: Ending, sources: list[Source]) -> Application:
    """Return one application of both services; it is ready when both are."""
    guards = open_guards(settings)
    ingest = Ingest(settings, ending.fail, log_partitions(settings), guards.write)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        freshness = Freshness(settings)
        async with (
            guards.watched(),
            open_store(settings) as store,
            freshness.watched(),
            ingest.running(),
        ):

            async def is_ready() -> bool:
                return ingest.is_ready and not ending.has_begun and await store.is_ready()

            desk = Desk(store, settings.events_days, freshness, Known(store.ask))
            app.router.routes += [
                *create_routes(desk, guards.read),
                *page_routes(fetched_swagger_ui()),
                *health_routes(is_ready),
            ]
            yield

    described = document(
        "Track", "Log events; ask for counts and sessions.", ingest_part(), query_part()
    )
    app = create_starlette([*ingest.routes(), document_route(described)], running)
    sources.append(ingest.samples)
    return ingest.in_front_of(_measured(OpenToAllOrigins(app), sources))


def _measured(app: ASGIApp, sources: list[Source]) -> ASGIApp:
    """Return the application with its requests counted."""
    requests = Requests(BY_PATH)
    sources.append(requests.samples)
    return requests.around(app)


def _run(
    service: Service,
    settings: Settings,
    create_app: Callable[[Ending, list[Source]], Application],
) -> None:
    set_up_logs(service)
    keys = require_guarded(settings, open_ring(settings))
    _allow_open_files()
    _collect_rarely()
    doors = open_doors(settings)
    listening = doors.bind()
    _log.info("Keys: %s.", keys)
    ending = Ending()
    sources: list[Source] = []
    server = HTTPServer(
        create_app(ending, sources),
        ending,
        in_flight_bytes=settings.in_flight_bytes,
        certificate=doors.certificate,
        object_to=doors.object_to,
    )
    expose(settings, service, *sources, server.samples)
    server.run(sockets=[listening])
    if isinstance(ending.failure, StartupError):
        raise ending.failure
    if ending.failure is not None:
        _log.critical("The process cannot go on, a new one can: %r", ending.failure)
        sys.exit(EXIT_RESTART)


def _allow_open_files() -> None:
    """Raise the limit of open files, since each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(most, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _collect_rarely() -> None:
    """Let the cycle collector look only at what piles up.

    A few hundred requests under way are many objects that all die soon; with the defaults they are
    looked through again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
