"""Fixtures of the writer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.processors.writer.pipeline import Pipeline


@pytest.fixture
def pipeline(settings: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    """Topics and tables that are ready to be filled."""
    made = Pipeline(settings, tmp_path)
    yield made
    made.close()
