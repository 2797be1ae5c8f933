"""`track up` as a person starts it: a program with signals, output and an exit code.

In: a folder, and settings that differ from those of every test. Out: the running program and its
addresses. Never: a process left behind; the end of the context proves it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.addresses import Stack, find_stack
from cli.metrics_ports import TARGETS
from tests.environments import foreign_environment
from tests.ports import free_ports

TRACK_UP = (str(Path(sys.executable).with_name("track")), "up")
_SERVERS = ("TRACK_KAFKA", "TRACK_CLICKHOUSE")
_READY_SECONDS = 300
_PORTS = ("HTTP", "KAFKA", "CLICKHOUSE", "CLICKHOUSE_NATIVE", "METRICS")  # one each
_METRICS_PORTS = 8  # and so many more


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that answers."""

    home: Path
    stack: Stack
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def http(self) -> str:
        """Base URL of the HTTP services."""
        return self.stack.http

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return self.stack.kafka

    @property
    def clickhouse(self) -> str:
        """URL with the services' user and password."""
        return self.stack.clickhouse


def stack_environment(home: Path, **settings: str) -> dict[str, str]:
    """The environment of a stack of its own: free ports, its folder, no servers named."""
    first = free_ports(len(_PORTS) + _METRICS_PORTS)
    ports = {f"TRACK_{name}_PORT": str(first + number) for number, name in enumerate(_PORTS)}
    ports["TRACK_PORT"] = ports.pop("TRACK_HTTP_PORT")
    return {**foreign_environment(), "TRACK_HOME": str(home), **ports, **settings}


def start_up(
    environment: Mapping[str, str], output: Path, command: Sequence[str] = TRACK_UP
) -> subprocess.Popen[bytes]:
    """Start the command; its words go to the file."""
    with output.open("ab") as file:
        return subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def wait_for_stack(process: subprocess.Popen[bytes], home: Path, output: Path) -> Stack:
    """Wait until the stack answers; fail with its words if it does not."""
    deadline = time.monotonic() + _READY_SECONDS
    while (stack := find_stack(home)) is None or stack.pid != process.pid:
        assert process.poll() is None, f"track up ended: {output.read_text()}"
        assert time.monotonic() < deadline, f"track up takes too long: {output.read_text()}"
        time.sleep(0.05)
    assert (home / TARGETS).exists(), "the stack was found before what Prometheus reads"
    return stack


def processes_of(home: Path) -> list[str]:
    """The command lines of the processes that were started for a stack's folder."""
    mark = f"TRACK_HOME={home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().decode().replace("\0", " ")[:80])
            except OSError:
                continue
    return found


@contextmanager
def running_stack(
    home: Path, command: Sequence[str] = TRACK_UP, **settings: str
) -> Iterator[RunningStack]:
    """Start a stack, give it when it answers, stop it and see that nothing is left."""
    home.mkdir(parents=True, exist_ok=True)
    output = home / "output"
    process = start_up(stack_environment(home, **settings), output, command)
    try:
        stack = wait_for_stack(process, home, output)
        yield RunningStack(home, stack, process, output)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert code == 0, output.read_text()
    assert processes_of(home) == []
