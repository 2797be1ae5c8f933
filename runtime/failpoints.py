"""Failpoints: named places where a test kills the process, to see that nothing is lost or doubled.

In: `TRACK_FAILPOINT`, `name:n`, from the environment; unset in every other life. Out: nothing, or
SIGKILL at the n-th passing. Never: an exception that the code around it could handle.
"""

from __future__ import annotations

import os
import signal

FAILPOINT = "TRACK_FAILPOINT"


def _armed(text: str) -> tuple[str, int] | None:
    name, _, passing = text.partition(":")
    return (name, int(passing or "1")) if name else None


_armed_at = _armed(os.environ.get(FAILPOINT, ""))
_passed = 0


def failpoint(name: str) -> None:
    """Pass a named place; the process ends there if the environment says so."""
    if _armed_at is not None and _armed_at[0] == name:
        _pass(_armed_at[1])


def _pass(deadly: int) -> None:
    global _passed  # noqa: PLW0603
    _passed += 1
    if _passed == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
