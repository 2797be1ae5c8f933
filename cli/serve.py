"""HTTP services as a process: ingest, query, or both on one port.

In: settings. Out: nothing after a stop in order (a signal), exit code 70 where this process cannot
go on and a new one can, a `StartupError` where the log or the port is not as it should be. Never: a
listening socket that other processes of the service could not share.
"""

from __future__ import annotations

import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from contracts.metrics import HTTP_CONNECTIONS, Service
from ingest.app import Ingest, log_partitions
from ingest.app import create_app as create_ingest
from ingest.cors import OpenToAllOrigins
from ingest.routes import create_starlette, health_routes
from query.app import create_app as create_query
from query.app import create_routes, open_store
from runtime.exposition import expose
from runtime.exposure import require_guarded
from runtime.guards import open_guards, open_ring
from runtime.http_measures import Requests
from runtime.http_protocol import HTTPProtocol
from runtime.logs import set_up_logs
from runtime.measures import Sample, Source
from runtime.settings import Settings
from runtime.startup import StartupError

EXIT_RESTART = 70
BACKLOG = 2048
IDLE_S = 75  # longer than proxies keep connections: they close them, and no request meets the end
FINISH_WITHIN_S = 10
OPEN_FILES = 65_536

_log = logging.getLogger(__name__)


class Ending:
    """Whether the end of the process has begun, and why: shared by application and server."""

    def __init__(self) -> None:
        self.has_begun = False
        self.failure: BaseException | None = None

    def begin(self) -> None:
        """Begin the end, in order."""
        self.has_begun = True

    def fail(self, error: BaseException) -> None:
        """Begin the end because of a failure; the first one counts."""
        self.failure = self.failure or error
        self.has_begun = True


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
    _run(Service.QUERY, settings, lambda _, sources: _measured(create_query(settings), sources))


def _create_both(settings: Settings, ending: Ending, sources: list[Source]) -> ASGIApp:
    """Return one application of both services; it is ready when both are."""
    guards = open_guards(settings)
    ingest = Ingest(settings, ending.fail, log_partitions(settings), guards.write)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        async with guards.watched(), open_store(settings) as store, ingest.running():

            async def is_ready() -> bool:
                return ingest.is_ready and not ending.has_begun and await store.is_ready()

            app.router.routes += [*create_routes(store, guards.read), *health_routes(is_ready)]
            yield

    app = create_starlette(ingest.routes(), running)
    sources.append(ingest.samples)
    return ingest.in_front_of(_measured(OpenToAllOrigins(app), sources))


def _measured(app: ASGIApp, sources: list[Source]) -> ASGIApp:
    """Return the application with its requests counted."""
    requests = Requests()
    sources.append(requests.samples)
    return requests.around(app)


def _run(
    service: Service,
    settings: Settings,
    create_app: Callable[[Ending, list[Source]], ASGIApp],
) -> None:
    set_up_logs(service)
    _log.info("Keys: %s.", require_guarded(settings, open_ring(settings)))
    _allow_open_files()
    _collect_rarely()
    listening = _bind(settings.host, settings.port)
    ending = Ending()
    sources: list[Source] = []
    config = uvicorn.Config(
        create_app(ending, sources),
        interface="asgi3",
        loop="uvloop",
        http=HTTPProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
    )
    server = _Server(config, ending)
    expose(settings, service, *sources, server.samples)
    server.run(sockets=[listening])
    if isinstance(ending.failure, StartupError):
        raise ending.failure
    if ending.failure is not None:
        _log.critical("The process cannot go on, a new one can: %r", ending.failure)
        sys.exit(EXIT_RESTART)


class _Server(uvicorn.Server):
    """uvicorn, ended by a signal or by a failure of the application.

    Signals are handled here: uvicorn raises them again at its end, and the process would not exit
    with 0.
    """

    def __init__(self, config: uvicorn.Config, ending: Ending) -> None:
        super().__init__(config)
        self._ending = ending

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM begin the end, also where the parent had them ignored."""
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end; a second SIGINT waits for nothing."""
        self._ending.begin()
        super().handle_exit(sig, frame)

    def samples(self) -> Iterator[Sample]:
        """Give the numbers for Prometheus."""
        yield HTTP_CONNECTIONS, (), len(self.server_state.connections)

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end."""
        return await super().on_tick(counter) or self._ending.has_begun


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, which other processes may bind as well."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise StartupError(
            f"Cannot listen on {host} port {port} ({error.strerror}); "
            "set TRACK_HOST and TRACK_PORT to a free address of this machine."
        ) from error
    return listening


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
