"""A stack's folder: who may use it, and what a run that was killed has left in it.

In: the folder, wishes to end. Out: the folder's lock, held. Never: two that start servers in one
folder.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.addresses import find_stack, withdraw_stack
from cli.metrics_ports import withdraw_targets
from cli.supervisor import Say, StopRequestedError, StopRequests
from deploy.local.processes import clear_left_over

_STOPPING_SECONDS = 60


class AlreadyRunningError(Exception):
    """Another `track up` has the folder; the message says which process."""


@contextmanager
def sole_owner(home: Path, requests: StopRequests, say: Say) -> Iterator[None]:
    """Hold the folder's lock, which the kernel lets go of when this process dies."""
    run = home / "run"
    run.mkdir(parents=True, exist_ok=True)
    with (run / "lock").open("a+") as lock:
        _lock(lock.fileno(), home, requests, say)
        (run / "stopping").unlink(missing_ok=True)
        yield


def _lock(lock: int, home: Path, requests: StopRequests, say: Say) -> None:
    """Take the lock; wait where the one who has it is just stopping."""
    deadline, told = time.monotonic() + _STOPPING_SECONDS, False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stopping = (home / "run" / "stopping").exists()
            if not stopping or time.monotonic() > deadline:
                raise AlreadyRunningError(_already_running(home)) from None
        else:
            return
        if not told:
            say("The stack of this folder is stopping; waiting for its end …")
            told = True
        if requests.asked:
            raise StopRequestedError
        time.sleep(0.1)


def _already_running(home: Path) -> str:
    stack = find_stack(home)
    which = f" (pid {stack.pid}, {stack.http})" if stack else ""
    return (
        f"A stack runs in {home} already{which}; stop it with Ctrl-C there, or set TRACK_HOME and "
        "the ports to start another one."
    )


def clear_folder(home: Path, say: Say) -> None:
    """End what a killed run left, and say so."""
    stale = (home / "stack.json").exists() or any((home / "run").glob("*.json"))
    left = clear_left_over(home / "run")
    withdraw_stack(home)
    withdraw_targets(home)
    if left:
        say(f"[yellow]![/] An earlier run was killed; ended what it left: {', '.join(left)}.")
    elif stale:
        say("[yellow]![/] An earlier run was killed; none of its processes was left.")
