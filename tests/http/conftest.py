"""Both services on one port, as `track serve` starts them, and services whose servers are away."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest

from cli.migrate import run_migrations
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


@pytest.fixture(scope="session")
def alone(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same without Kafka and ClickHouse."""
    settings = settings_on(servers, tmp_path_factory.mktemp("home"))
    away = dataclasses.replace(settings, kafka="127.0.0.1:1", clickhouse="http://u:p@127.0.0.1:1")
    with start(away, tmp_path_factory.mktemp("alone"), "serve") as running:
        running.wait_until("/livez", 200)
        yield running


@pytest.fixture
def budget() -> Budget:
    """What the fuzzing tests here may take, each."""
    return BUDGET.share(0.1)
