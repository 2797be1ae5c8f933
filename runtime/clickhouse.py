"""Connections to ClickHouse.

In: settings, where `clickhouse` is a URL with user and password and `namespace` the database. Out:
clients of clickhouse-connect, their connections kept alive. Never: a query that the client sends
again because of an answer. (Its `raw_insert` is sent again when the connection closes under it:
send an INSERT that must go once as a command with data, which is not.)
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from urllib3 import PoolManager

from runtime.settings import Settings, SettingsError

__all__ = [
    "AsyncClient",
    "ClickHouseError",
    "Client",
    "OperationalError",
    "connect",
    "connect_sync",
]

_CONNECT_TIMEOUT_S = 3


async def connect(
    settings: Settings, *, database: str | None = None, timeout_s: float = 90
) -> AsyncClient:
    """Return an asynchronous client that has reached the server.

    Args:
        settings: which server, and the database unless another one is named.
        database: another database, such as `default` before ours exists.
        timeout_s: the most that one answer may take.

    Raises:
        ClickHouseError: the server is away or refuses; the database may be missing.
        SettingsError: no server is named.
    """
    return await clickhouse_connect.get_async_client(**_arguments(settings, database, timeout_s))


def connect_sync(
    settings: Settings,
    *,
    database: str | None = None,
    timeout_s: float = 90,
    pool: PoolManager | None = None,
) -> Client:
    """Return a client for code without an event loop; arguments and errors as in `connect`.

    `pool` are connections of one's own, else all such clients of the process share theirs.
    """
    arguments = _arguments(settings, database, timeout_s)
    return clickhouse_connect.get_client(**arguments, pool_mgr=pool)


def _arguments(settings: Settings, database: str | None, timeout_s: float) -> dict[str, Any]:
    if not settings.clickhouse:
        raise SettingsError(
            "TRACK_CLICKHOUSE is not set; it must be the URL of ClickHouse with user and password, "
            "such as http://user:password@127.0.0.1:8123."
        )
    return {
        "dsn": settings.clickhouse,
        # The library does not look at the scheme: with https it would send the password plainly.
        "interface": urlsplit(settings.clickhouse).scheme,
        "database": database or settings.namespace,
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "send_receive_timeout": timeout_s,
        "query_retries": 0,
        "compress": False,
        # Sessions allow one query at a time, and nothing here needs one.
        "autogenerate_session_id": False,
        # With False or a limit the library logs a traceback for every error while a server is away.
        "show_clickhouse_errors": True,
    }
