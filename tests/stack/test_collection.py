from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from query.table import BY_PATH
from tests.npm.packages import newman_command
from tests.running_stack import RunningStack

COLLECTION = Path(__file__).parents[2] / "analytics-api.postman_collection.json"
FOLDERS = {
    "Track Events": ["Play", "Stop", "Future timestamp", "Large metadata"],
    "Get Metrics": ["Daily", "Daily, all users", "Weekly", "Error cases"],
    "Get Sessions": ["Daily", "Weekly"],
    "More Questions": [
        "Top values",
        "Hours, all of them, as CSV",
        "Different users",
        "Sessions with quantiles",
        "List of sessions",
        "Open sessions",
        "Concurrent sessions",
        "Latest events",
    ],
    "Other Ways In": ["A batch", "A CloudEvent", "A pixel", "Segment", "PostHog"],
    "The Service": ["Alive", "Ready", "OpenAPI"],
}


@pytest.fixture(scope="session")
def newman() -> list[str]:
    return newman_command()


def test_it_has_its_folders_and_its_variable() -> None:
    collection = json.loads(COLLECTION.read_text())
    assert collection["info"]["schema"].endswith("/v2.1.0/collection.json")
    assert {f["name"]: [each["name"] for each in f["item"]] for f in collection["item"]} == FOLDERS
    assert [variable["key"] for variable in collection["variable"]] == ["baseUrl", "key"]


def test_every_question_is_in_it() -> None:
    asked = {
        "/" + "/".join(request["request"]["url"]["path"])
        for request in _requests(json.loads(COLLECTION.read_text())["item"])
    }
    assert {*BY_PATH, "/track", "/livez", "/readyz", "/openapi.json"} <= asked


def test_every_request_has_its_tests() -> None:
    for request in _requests(json.loads(COLLECTION.read_text())["item"]):
        tests = [event for event in request["event"] if event["listen"] == "test"]
        assert any("pm.test(" in line for test in tests for line in test["script"]["exec"])
        assert request["request"]["url"]["raw"].startswith("{{baseUrl}}/")


def test_it_passes_in_newman(stack: RunningStack, newman: list[str], tmp_path: Path) -> None:
    report = _run(newman, stack.http, tmp_path)
    assert report["failures"] == []
    assert report["stats"]["assertions"]["total"] >= 20
    assert report["stats"]["requests"]["failed"] == 0


@pytest.mark.parametrize("folder", ["Get Metrics", "Get Sessions", "More Questions"])
def test_a_folder_runs_by_itself(
    stack: RunningStack, newman: list[str], tmp_path: Path, folder: str
) -> None:
    assert _run(newman, stack.http, tmp_path, "--folder", folder)["failures"] == []


def test_a_wrong_answer_is_a_failure(
    stack: RunningStack, newman: list[str], tmp_path: Path
) -> None:
    report = _run(newman, f"{stack.http}/elsewhere", tmp_path, "--folder", "Track Events")
    assert len(report["failures"]) >= 4


def _requests(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in items:
        found += _requests(item["item"]) if "item" in item else [item]
    return found


def _run(newman: list[str], base_url: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run the collection; return the run's part of newman's report."""
    report = folder / "report.json"
    done = subprocess.run(
        [
            *newman, "run", str(COLLECTION), "--env-var", f"baseUrl={base_url}",
            "--reporters", "cli,json", "--reporter-json-export", str(report),
            "--color", "off", "--timeout-request", "30000", *options,
        ],
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    run: dict[str, Any] = json.loads(report.read_text())["run"]
    run["failures"] = [
        f"{failure['source'].get('name')}: {failure['error']['message']}"
        for failure in run["failures"]
    ]
    return run
