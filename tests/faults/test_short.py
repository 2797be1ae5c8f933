"""The short scenarios, as part of `make test`; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.registry import Scenario, all_scenarios
from tests.faults.servers import FaultyServers
from tests.faults.trial import run_trial

SHORT = [each for each in all_scenarios() if each.short]


@pytest.mark.parametrize("scenario", SHORT, ids=lambda each: each.name)
def test_nothing_is_lost_or_doubled(
    scenario: Scenario, faulty: FaultyServers, tmp_path: Path
) -> None:
    result = run_trial(scenario, faulty, 1, tmp_path)
    assert result.problems == []
