"""The stack that the demo goes through: the one that runs, or one of its own.

In: the settings. Out: the addresses of a running stack, for as long as the caller needs them.
Never: the end of a stack that somebody else started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cli.addresses import Stack, find_stack
from deploy.local.processes import ServerError, last_lines
from runtime.settings import Settings

_START_SECONDS = 1_200  # the first time, the servers' files are fetched
_STOP_SECONDS = 90
_POLL_S = 0.2


@contextmanager
def running_stack(settings: Settings, console: Console) -> Iterator[Stack]:
    """Give the stack that runs in the folder, or one that is started now and stopped at the end.

    Raises:
        ServerError: none runs, and none could be started.
    """
    stack = find_stack(settings.home)
    if stack is not None:
        yield stack
        return
    log = settings.home / "logs" / "up.log"
    process = _start(log)
    try:
        with console.status("No stack runs here; starting one …"):
            stack = _wait_for_stack(settings.home, process, log)
        console.print(f"Started a stack at {stack.http}; it ends with the demo.")
        yield stack
    finally:
        _stop(process, console)


def _start(log: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own: Ctrl-C must reach the demo, which then ends it in order."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("track")), "up", "--ends-with-parent"]
    # It quotes the analyst's password, as `track up` does on the screen.
    with open(log, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def _wait_for_stack(home: Path, process: subprocess.Popen[bytes], log: Path) -> Stack:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        stack = find_stack(home)
        if stack is not None:
            return stack
        if process.poll() is not None:
            break
        time.sleep(_POLL_S)
    raise ServerError(f"The stack did not start; {log} ends with: {last_lines(log)}")


def _stop(process: subprocess.Popen[bytes], console: Console) -> None:
    if process.poll() is None:
        with console.status("Stopping the stack …"):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
