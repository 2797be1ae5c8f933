"""Tables with events, for the tests of export and import."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.settings import Settings
from tests.cli.parquet.events import Tables


@pytest.fixture
def tables(settings: Settings) -> Iterator[Tables]:
    """Tables without a row."""
    made = Tables(settings)
    yield made
    made.close()
