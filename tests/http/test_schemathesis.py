"""schemathesis over the document against a running service: good and bad data in every place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.budget import Budget
from tests.ingest.service import Service

ROOT = Path(__file__).parents[2]
LEAST_EXAMPLES = 8
OPERATIONS = 46


@pytest.mark.timeout(900)
def test_every_answer_is_documented_and_as_the_rules_say(
    served: Service, budget: Budget, tmp_path: Path
) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{served.url}/openapi.json",
        "--seed", str(budget.seed),
        # Each value of each schema beside all the others takes most of the time.
        "--phases", "examples,coverage,fuzzing" if budget.is_long else "examples,fuzzing",
        "--mode", "all",
        # A schema cannot say that one date is before another; the rules can, and are asked.
        "--exclude-checks", "positive_data_acceptance",
        "--generation-database", "none",
        "--request-timeout", "10",
        "--no-color",
        *(
            ("--max-time", str(max(30, int(budget.seconds))))
            if budget.is_long
            else ("--max-examples", str(LEAST_EXAMPLES))
        ),
    ]  # fmt: skip
    hooks = {"SCHEMATHESIS_HOOKS": "tests.http.rules", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **hooks},
        capture_output=True,
        text=True,
        timeout=budget.seconds + 800,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # In a bounded time a slow machine does not come to each operation in each phase.
    wanted = " passed" if budget.is_long else f"{OPERATIONS} passed"
    assert wanted in ran.stdout, ran.stdout
    log = served.log.read_text()
    assert "Traceback" not in log, log[-3000:]
