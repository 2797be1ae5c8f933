"""The stack that the clients talk to: keys are in force, and nobody else sends to it.

When all clients are through, topics, tables and rollups are held against each other, and no event
has the key that it was sent with.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from cli.addresses import settings_on
from cli.keys import add_key
from cli.verify import compare
from runtime.access.keys import Scope
from runtime.clickhouse import connect_sync
from runtime.settings import Settings
from tests.compat.clients import Service
from tests.conftest import Servers
from tests.running_stack import running_stack

_SELECT_WITH_KEY = "SELECT countIf(position(toString(metadata), {key:String}) > 0) FROM events"


@pytest.fixture(scope="session")
def service(servers: Servers) -> Iterator[Service]:
    """A pipeline of this worker's own, on the servers that all workers share."""
    folder = Path(tempfile.mkdtemp(prefix="track-compat-"))
    file, now = folder / "keys", datetime.now(UTC)
    key = add_key(file, "client", [Scope.WRITE], now)
    reading = {"x-read-key": add_key(file, "reader", [Scope.READ], now)}
    named = {
        "TRACK_KAFKA": servers.kafka,
        "TRACK_CLICKHOUSE": servers.clickhouse,
        "TRACK_NAMESPACE": f"t_{secrets.token_hex(5)}",
    }
    try:
        with (
            running_stack(folder, **named) as running,
            httpx.Client(base_url=running.http, headers=reading, timeout=20) as reader,
        ):
            settings = settings_on(running.stack, Settings())
            yield Service(running.http, key, settings, reader)
            assert asyncio.run(_differences(settings)) == []
            assert _events_with(settings, key) == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _differences(settings: Settings) -> list[str]:
    return [each async for compared in compare(settings) for each in compared.differences]


def _events_with(settings: Settings, key: str) -> int:
    client = connect_sync(settings)
    try:
        return int(client.query(_SELECT_WITH_KEY, {"key": key}).first_row[0])
    finally:
        client.close()
