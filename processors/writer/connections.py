"""A connection to ClickHouse over which an insert goes out at most once, and never late.

In: a question that is asked when the connection is open and nothing has been sent. Out: a pool for
clickhouse-connect. Never: a second send within one attempt, whoever would try: clickhouse-connect
resends inserts, urllib3 opens a new connection under an old request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


class NotSentError(Exception):
    """The insert was not sent: it would have been late, or somebody else's."""


class SentOnceError(Exception):
    """The insert was sent once and must not be sent again; whether it arrived is unknown."""


class Gate:
    """Lets one request of an attempt through, if the question asked right before it says so."""

    def __init__(self) -> None:
        self._may_send: Callable[[], bool] | None = None
        self.sent = False

    @contextmanager
    def attempt(self, may_send: Callable[[], bool]) -> Iterator[None]:
        """Guard the requests made inside: one at most, and only if `may_send()` at its moment."""
        self._may_send, self.sent = may_send, False
        try:
            yield
        finally:
            self._may_send = None

    def pass_through(self) -> None:
        """Let a request pass whose connection is open.

        Raises:
            NotSentError: it must not go out any more.
            SentOnceError: one went out already.
        """
        if self._may_send is None:
            return
        if self.sent:
            raise SentOnceError
        if not self._may_send():
            raise NotSentError
        self.sent = True


def open_pool(gate: Gate, send_within_s: float) -> PoolManager:
    """Return a pool of one connection whose requests pass the gate.

    urllib3 would let a request be sent no longer than a connection may take to open: too short for
    a large block that ClickHouse reads no faster than it parses.
    """

    def make_ready(connection: HTTPConnection) -> None:
        if connection.sock is None:
            connection.connect()
        gate.pass_through()
        connection.timeout = send_within_s

    class Connection(HTTPConnection):
        def request(self, *args: Any, **kwargs: Any) -> None:
            make_ready(self)
            super().request(*args, **kwargs)

    class SecureConnection(HTTPSConnection):
        def request(self, *args: Any, **kwargs: Any) -> None:
            make_ready(self)
            super().request(*args, **kwargs)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    manager = PoolManager(maxsize=1, block=True, retries=False)
    manager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
    return manager
