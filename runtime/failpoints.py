"""Failpoints: named places where a test kills the process, to see that nothing is lost or doubled.

In: `TRACK_FAILPOINT`, `name:n`, from the environment; unset in every other life. Out: nothing, or
SIGKILL at the n-th passing. Never: an exception that the code around it could handle.

With `name:n:pause` it is SIGSTOP, as when a machine is suspended. With `name:n:stall` nothing
happens to the process: from the n-th passing on, `is_stalled` tells the place to do nothing, and
to say nothing.
"""

from __future__ import annotations

import os
import signal
import time

FAILPOINT = "TRACK_FAILPOINT"


_PAUSE, _STALL = "pause", "stall"
# A thread may run on for a moment before a stop reaches it; a kill spares it that as well.
_STOPS_WITHIN_S = 0.1


def _armed(text: str) -> tuple[str, int, str] | None:
    name, passing, action, *_ = *text.split(":"), "", ""
    return (name, int(passing or "1"), action) if name else None


_armed_at = _armed(os.environ.get(FAILPOINT, ""))
_passed = 0


def failpoint(name: str) -> None:
    """Pass a named place; the process ends or stands still there if the environment says so."""
    if _armed_at is None or _armed_at[0] != name or _pass() != _armed_at[1]:
        return
    if _armed_at[2] == _PAUSE:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(_STOPS_WITHIN_S)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def is_stalled(name: str) -> bool:
    """Pass a named place; tell whether the environment says that it does nothing any more."""
    return _armed_at is not None and _armed_at[::2] == (name, _STALL) and _pass() >= _armed_at[1]


def _pass() -> int:
    """Return how often the armed place has been passed."""
    global _passed  # noqa: PLW0603
    _passed += 1
    return _passed
