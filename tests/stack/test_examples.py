from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from deploy.local.machine import free_port
from tests.environments import foreign_environment
from tests.running_stack import RunningStack

SCRIPT = Path(__file__).parents[2] / "examples.sh"


@pytest.mark.timeout(240)
def test_every_example_has_its_answer(stack: RunningStack) -> None:
    done = _run(stack.http)
    assert done.returncode == 0, done.stdout
    assert "✗" not in done.stdout
    assert re.search(r"All \d\d checks passed\.", done.stdout)


@pytest.mark.timeout(240)
def test_it_can_be_repeated_and_takes_the_port_of_the_stack(stack: RunningStack) -> None:
    port = stack.http.rpartition(":")[2]
    done = _run(environment={"TRACK_PORT": port})
    assert done.returncode == 0, done.stdout


def test_without_a_stack_it_says_what_to_do() -> None:
    done = _run(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "does not answer" in done.stdout
    assert "make run" in done.stdout


def test_a_wrong_answer_is_a_failure(stack: RunningStack) -> None:
    """Kafka's address is no HTTP service of ours; neither is a path of it that does not exist."""
    done = _run(f"{stack.http}/elsewhere")
    assert done.returncode == 1
    assert re.search(r"\d+ of \d+ checks failed", done.stdout)


def test_it_needs_nothing_beyond_an_old_bash() -> None:
    """macOS has bash 3.2: no associative arrays, no mapfile, no case conversion, no `|&`."""
    script = SCRIPT.read_text()
    for newer in ("declare -A", "mapfile", "readarray", "|&", "&>>", ",,}", "^^}", "coproc", "jq "):
        assert newer not in script, newer


def _run(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={**foreign_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
