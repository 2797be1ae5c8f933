"""One pipeline's topics and one process of ingest, for all tests of its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from cli.migrate import run_migrations
from runtime.settings import Settings
from tests.conftest import Servers, settings_on
from tests.ingest.service import Service, start


@pytest.fixture(scope="session")
def migrated(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a pipeline whose topics and tables have been made."""
    settings = settings_on(servers, tmp_path_factory.mktemp("home"))
    asyncio.run(run_migrations(settings))
    return settings


@pytest.fixture(scope="session")
def service(migrated: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A process of ingest that is ready."""
    with start(migrated, tmp_path_factory.mktemp("ingest")) as running:
        running.wait_until("/readyz", 200)
        yield running
