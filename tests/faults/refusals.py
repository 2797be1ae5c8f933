"""What a person does when a processor refuses to work: read its sentence, run the command it names.

In: a trial, a service that must refuse. Out: what was said. Never: a refusal passed over: one that
does not come, or says something else, is a problem of the trial.
"""

from __future__ import annotations

import subprocess

from tests.benchmarks.programs import beside_python
from tests.environments import environment_of
from tests.faults.services import Service
from tests.faults.trial import Trial

REFUSED = 78
_COMMAND_WITHIN_S = 120


def expect_refusal(trial: Trial, service: Service, words: str, ended: int) -> bool:
    """Wait until a service has refused, after so many ends, with words in its sentence."""
    service.expected_ends.add(REFUSED)
    code = service.wait_for_end(ended)
    said = service.last_words()
    if code == REFUSED and words in said:
        return True
    trial.found(f"{service.name} had to refuse with {words!r}, but ended with {code}: {said}")
    return False


def run_track(trial: Trial, *arguments: str) -> str:
    """Run a command of `track` on the trial's pipeline; return what it says.

    One that fails is a problem of the trial.
    """
    done = subprocess.run(
        [beside_python("track"), *arguments], env=environment_of(trial.settings),
        capture_output=True, text=True, timeout=_COMMAND_WITHIN_S, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if done.returncode != 0:
        trial.found(f"track {' '.join(arguments)} ended with {done.returncode}: {said[-800:]}")
    return said
