"""The one place where the benchmark runs processes, and reads what they have used.

In: a command and settings. Out: a running process that ends with its block, or with the benchmark
should that be killed. Never: a process left behind, a wait without an end.
"""

from __future__ import annotations

import http.client
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.processes import Program, Running, last_lines, start, wait_until_ready
from runtime.ready import READY_FILE
from runtime.settings import Settings
from tests.benchmarks.figures import BenchmarkError
from tests.environments import environment_of, foreign_environment

ROOT = Path(__file__).parents[2]
_START_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


def beside_python(name: str) -> str:
    """Return the path of a program of the environment that Python runs in."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def track(settings: Settings, subcommand: str, **environment: str) -> Iterator[Running]:
    """Run a service; the block begins when it says that it works.

    HTTP services say so on their port, the others by their ready file.
    """
    ready = settings.home / f"{subcommand}-{secrets.token_hex(4)}.ready"
    serves = subcommand in ("ingest", "query", "serve")
    with run(
        settings.home,
        subcommand,
        [beside_python("track"), subcommand],
        (lambda: answers(settings.port, "/readyz")) if serves else ready.exists,
        **{**environment_of(settings), READY_FILE: str(ready), **environment},
    ) as running:
        yield running


@contextmanager
def run(
    folder: Path,
    name: str,
    command: list[str],
    is_ready: Callable[[], bool] = lambda: True,
    **environment: str,
) -> Iterator[Running]:
    """Run a program in the source's folder, with no setting of ours but those given."""
    program = Program(
        name=f"{name}-{secrets.token_hex(4)}",
        command=tuple(command),
        environment={**foreign_environment(), **environment},
        log=folder / f"{name}.log",
        is_ready=is_ready,
        folder=ROOT,
    )
    running = start(program, folder / "run")
    try:
        wait_until_ready(running, _START_S)
        yield running
    finally:
        running.stop()


def wait_for(
    condition: Callable[[], bool],
    what: str,
    seconds: float,
    *watched: Running,
    every_s: float = 0.05,
) -> None:
    """Wait until a condition holds.

    Raises:
        BenchmarkError: it did not hold in time, or a process that is watched has ended.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        for each in watched:
            if each.exit_code is not None:
                log = each.program.log
                raise BenchmarkError(f"{log.stem} ended ({each.exit_code}): {last_lines(log)}")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what} took more than {seconds:.0f} s")
        time.sleep(every_s)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that a living process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int, which: str = "VmRSS") -> float:
    """Return the memory that a living process holds (VmRSS), or has held at most (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0]) / 1000


def answers(port: int, path: str, status: int = 200) -> bool:
    """Tell whether a service on this machine answers a path with a status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
