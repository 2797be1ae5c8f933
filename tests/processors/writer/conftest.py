"""Fixtures of the writer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.processors.writer.pipeline import Pipeline


@pytest.fixture
def pipeline(settings: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    """Topics and tables that are ready to be filled."""
    made = Pipeline(replace(settings, session_timeout_ms=6000), tmp_path)  # many are killed
    yield made
    made.close()
