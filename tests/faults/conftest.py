"""The suite's own servers for its tests: started once a worker, and killed at will."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.conftest import Servers, settings_on
from tests.faults.servers import FaultyServers, faulty_servers


@pytest.fixture(scope="session")
def faulty() -> Iterator[FaultyServers]:
    """Kafka and ClickHouse behind proxies."""
    folder = Path(tempfile.mkdtemp(prefix="track-faults-"))
    try:
        with faulty_servers(folder) as servers:
            yield servers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings_behind(faulty: FaultyServers, tmp_path: Path) -> Settings:
    """Settings of a pipeline of its own on those servers, by their own addresses."""
    faulty.heal()
    return settings_on(Servers(faulty.kafka, faulty.clickhouse), tmp_path)
