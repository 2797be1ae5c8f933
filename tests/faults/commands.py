"""The commands of `track` that a person runs beside a trial.

In: settings of a pipeline, arguments. Out: the command as it ended. Never: a wait without an end.
"""

from __future__ import annotations

import subprocess

from runtime.settings import Settings
from tests.benchmarks.programs import ROOT, beside_python
from tests.environments import environment_of

_WITHIN_S = 120.0


def run_track(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(
        [beside_python("track"), *arguments], cwd=ROOT, env=environment_of(settings),
        capture_output=True, text=True, timeout=_WITHIN_S, check=False,
    )  # fmt: skip
