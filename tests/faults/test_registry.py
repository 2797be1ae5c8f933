"""What the registry holds: names that are one word, sentences, themes."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.faults.registry import all_scenarios, find_scenarios, scenario

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_every_scenario_stands_in_the_documentation_as_it_is() -> None:
    table = RELIABILITY.read_text().partition("<!-- scenarios -->")[2].partition("<!-- /")[0]
    rows = re.findall(r"^\| `([\w*]+)` \| (.*) \|$", table, re.MULTILINE)
    for name, about in rows:
        found = [each for each in all_scenarios() if fnmatchcase(each.name, name)]
        assert found, f"there is no scenario {name}"
        assert "*" in name or found[0].about == about
    undocumented = [
        each.name
        for each in all_scenarios()
        if not any(fnmatchcase(each.name, name) for name, _ in rows)
    ]
    assert undocumented == []


def test_every_scenario_says_what_goes_wrong() -> None:
    for each in all_scenarios():
        assert each.name.isidentifier() or "." in each.name, each.name
        assert each.about.endswith("."), f"{each.name} has no sentence"


def test_scenarios_are_found_by_name_and_theme() -> None:
    assert [each.name for each in find_scenarios("nothing_goes_wrong")] == ["nothing_goes_wrong"]
    assert {each.theme for each in find_scenarios("kills")} == {"kills"}
    with pytest.raises(ValueError, match="no scenario is called"):
        find_scenarios("no_such_thing")


def test_no_two_have_one_name() -> None:
    with pytest.raises(ValueError, match="two scenarios are called nothing_goes_wrong"):
        scenario("nothing_goes_wrong", about="Again.")(lambda trial: None)
