"""Tables with events, for the tests of export and import."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.parquet.events import Tables
from tests.conftest import Servers, settings_on


@pytest.fixture(scope="module")
def made(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """Topics and tables of one namespace."""
    tables = Tables(settings_on(servers, tmp_path_factory.mktemp("home")))
    yield tables
    tables.close()


@pytest.fixture
def tables(made: Tables) -> Tables:
    """Tables without a row."""
    made.reset()
    return made
