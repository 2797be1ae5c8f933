"""Every failpoint of the code is enumerated, and for each there is a scenario that dies there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.failpoints import FAILPOINTS, OF_COMMANDS
from tests.faults.registry import find_scenarios

ROOT = Path(__file__).parents[2]
SOURCES = ("contracts", "runtime", "ingest", "processors", "query", "cli")
ENUMERATED = [name for names in FAILPOINTS.values() for name in names] + list(OF_COMMANDS)


def test_every_failpoint_is_enumerated_and_every_name_is_one() -> None:
    called = [
        name
        for source in SOURCES
        for path in (ROOT / source).rglob("*.py")
        for name in re.findall(r"\bfailpoint\(\"([^\"]+)\"\)", path.read_text())
    ]
    assert sorted(called) == sorted(ENUMERATED)
    assert len(set(ENUMERATED)) == len(ENUMERATED)


def test_there_is_a_scenario_for_each() -> None:
    names = {each.name for each in find_scenarios("failpoints")}
    assert names == {
        f"killed_at_{service}_{point.rpartition('.')[2]}"
        for service, points in FAILPOINTS.items()
        for point in points
    }
