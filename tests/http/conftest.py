"""Both services on one port, as `track serve` starts them, and services whose servers are away."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cli.keys import add_key
from cli.migrate import run_migrations
from contracts.events import MAX_EVENT_BYTES
from runtime.access.keys import Scope
from tests.conftest import Servers, settings_on
from tests.fuzz.budget import BUDGET, Budget
from tests.ingest.service import Service, start


@pytest.fixture(scope="session")
def served(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Ingest and query on one port, ready."""
    settings = settings_on(servers, tmp_path_factory.mktemp("home"))
    asyncio.run(run_migrations(settings))
    with start(settings, tmp_path_factory.mktemp("serve"), "serve") as running:
        running.wait_until("/readyz", 200)
        yield running


@dataclasses.dataclass(frozen=True, slots=True)
class Strict:
    """A service that refuses: its servers are away, it has keys, limits and little memory."""

    service: Service
    keys: dict[Scope, str]


@pytest.fixture(scope="session")
def strict(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    """Such a service, behind a proxy on this machine."""
    folder = tmp_path_factory.mktemp("strict")
    file, now = folder / "keys", datetime.now(UTC)
    keys = {scope: add_key(file, scope, [scope], now) for scope in Scope}
    settings = dataclasses.replace(
        settings_on(servers, folder),
        kafka="127.0.0.1:1",
        clickhouse="http://u:p@127.0.0.1:1",
        keys=str(file),
        proxies="127.0.0.1",
        rate_per_key=1,
        rate_burst_s=60,
        in_flight_bytes=MAX_EVENT_BYTES,
    )
    with start(settings, folder, "serve") as running:
        running.wait_until("/livez", 200)
        yield Strict(running, keys)


@pytest.fixture
def budget() -> Budget:
    """What the fuzzing tests here may take, each."""
    return BUDGET.share(0.1)
