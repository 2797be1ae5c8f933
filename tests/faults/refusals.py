"""What a person does when a processor refuses to work: read its sentence, run the command it names.

In: a trial, a service that must refuse. Out: what was said. Never: a refusal passed over: one that
does not come, or says something else, is a problem of the trial.
"""

from __future__ import annotations

from tests.faults.commands import run_track
from tests.faults.services import Service
from tests.faults.trial import Trial

REFUSED = 78


def expect_refusal(trial: Trial, service: Service, words: str, ended: int) -> bool:
    """Wait until a service has refused, after so many ends, with words in its sentence."""
    service.expected_ends.add(REFUSED)
    code = service.wait_for_end(ended)
    said = service.last_words()
    if code == REFUSED and words in said:
        return True
    trial.found(f"{service.name} had to refuse with {words!r}, but ended with {code}: {said}")
    return False


def require_done(trial: Trial, *arguments: str) -> None:
    """Run a command on the pipeline; one that fails is a problem of the trial."""
    done = run_track(trial.settings, *arguments)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-800:]
        trial.found(f"track {' '.join(arguments)} ended with {done.returncode}: {said}")
