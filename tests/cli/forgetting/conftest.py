"""A pipeline for the tests of a module."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.cli.forgetting.living import Living
from tests.conftest import Servers, settings_on


@pytest.fixture(scope="module")
def living(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """Two partitions, and a session time-out that a test can wait for."""
    folder = tmp_path_factory.mktemp("forgetting")
    settings = dataclasses.replace(
        settings_on(servers, folder), partitions=2, session_timeout_ms=6000
    )
    made = Living(settings, folder)
    yield made
    made.close()
