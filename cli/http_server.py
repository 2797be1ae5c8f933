"""uvicorn as a process of ours: when it begins to listen, what it gives connections, how it ends.

In: an application, a bound socket, what plain connections may do. Out: a server that runs until a
signal or a failure of the application. Never: a socket that listens before the application is
ready (a process beside it would answer, and this one could not), a connection that is closed while
a request is on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Scope

from contracts.metrics import HTTP_CONNECTIONS
from runtime.http.at_once import AtOnceProtocol
from runtime.http.budget import Budget
from runtime.http.exchanges import Application, AtOnce
from runtime.http.patience import HEAD_WITHIN_S, LAST_REQUEST_WITHIN_S, Patience
from runtime.http.protocol import HTTPProtocol
from runtime.http.refusals import Objection
from runtime.http.tls import Certificate
from runtime.monitoring.measures import Sample
from runtime.ready import announce_ready

BACKLOG = 2048
FINISH_WITHIN_S = 10
READY_WITHIN_S = 3.0  # without Kafka or ClickHouse it listens all the same, and says so
_READY_CHECKED_EVERY_S = 0.05


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


class HTTPServer(uvicorn.Server):
    """uvicorn, ended by a signal or by a failure of the application.

    Signals are handled here: uvicorn raises them again at its end, and the process would not exit
    with 0.
    """

    def __init__(
        self,
        application: Application,
        ending: Ending,
        *,
        in_flight_bytes: int,
        certificate: Certificate | None,
        object_to: Callable[[str], Objection | None] | None,
    ) -> None:
        config = uvicorn.Config(
            application.asgi,
            interface="asgi3",
            loop="uvloop",
            http=AtOnceProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=FINISH_WITHIN_S,
        )
        super().__init__(config)
        self._app = application.asgi
        self._at_once = AtOnce(application.at_once)
        self._ending = ending
        self._certificate = certificate
        self._object_to = object_to
        self._patience = Patience()
        self._budget = Budget(in_flight_bytes)
        self._watching: list[asyncio.Task[None]] = []

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and listen once it is ready, or has not become so in time."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(3)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                await self._wait_until_ready()
        self._watch(self._patience.watch(self.server_state.connections))  # type: ignore[arg-type]
        if self._certificate is not None:
            self._watch(self._certificate.watch())
        self.servers = []
        if not self._ending.has_begun:
            loop = asyncio.get_running_loop()
            for each in sockets or []:
                listening = await loop.create_server(
                    self._connect, sock=each, backlog=BACKLOG, **self._tls_arguments()
                )
                self.servers.append(listening)
            announce_ready()
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what waits to be accepted, then nothing more; finish, and end the application."""
        self._patience.is_ending = True
        accepted = [each for listening in sockets or [] for each in _accept_all(listening)]
        # At once: whoever connects from now on meets another process, or nobody.
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        taking = [
            asyncio.create_task(
                loop.connect_accepted_socket(self._connect, each, **self._tls_arguments())
            )
            for each in accepted
        ]
        loop.call_later(LAST_REQUEST_WITHIN_S, self._close_idle)
        if taking:
            await asyncio.wait(taking, timeout=LAST_REQUEST_WITHIN_S)
        await super().shutdown(sockets)
        for each in self._watching:
            each.cancel()

    def _watch(self, watching: Coroutine[Any, Any, None]) -> None:
        """Run something beside the connections; without it the process must not go on."""
        task = asyncio.create_task(watching)
        task.add_done_callback(self._pass_on_failure)
        self._watching.append(task)

    def _pass_on_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._ending.fail(error)

    def _connect(self) -> HTTPProtocol:
        return AtOnceProtocol(
            self.config,
            self.server_state,
            self.lifespan.state,
            patience=self._patience,
            budget=self._budget,
            object_to=self._object_to,
            at_once=self._at_once,
        )

    def _tls_arguments(self) -> dict[str, Any]:
        if self._certificate is None:
            return {}
        return {
            "ssl": self._certificate.context,
            "ssl_handshake_timeout": HEAD_WITHIN_S,
            "ssl_shutdown_timeout": LAST_REQUEST_WITHIN_S,
        }

    def _close_idle(self) -> None:
        for each in list(self.server_state.connections):
            if isinstance(each, HTTPProtocol):
                each.close_if_idle()

    async def _wait_until_ready(self) -> None:
        """Ask the application what a load balancer would ask it, until it says yes."""
        while not self._ending.has_begun:
            if await _status_of(self._app, "/readyz") == 200:
                return
            await asyncio.sleep(_READY_CHECKED_EVERY_S)


def _accept_all(listening: socket.socket) -> Iterator[socket.socket]:
    """Accept the connections that wait already: the kernel would reset them with the socket."""
    with contextlib.suppress(OSError):
        while True:
            yield listening.accept()[0]


async def _status_of(app: ASGIApp, path: str) -> int:
    """Return the status of a GET that reaches the application without a connection."""
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "headers": [], "client": None, "server": None, "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return statuses[0] if statuses else 0
