"""Programs of the local stack: how each is started, asked to stop, and found again after a crash.

In: a `Program` (a command, where its log goes, how one sees that it works). Out: a `Running`
process in a group of its own, noted in a file with the moment it was started. Never: a decision to
restart.

The note makes a process recognizable after its parent was killed: a number alone may meanwhile
belong to somebody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.05
_LOG_LIMIT = 20 * 1024 * 1024


class ServerError(Exception):
    """A server or its files could not be had; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """One part of the stack.

    Attributes:
        name: a word for people, also the name of its log and its note.
        command: the program and its arguments.
        environment: the whole environment of the process.
        log: file that takes both its outputs.
        is_ready: answers whether the part works; it must return within a second or two.
        folder: its working folder; the one of the starter if there is none.
        prepare: puts on disk what has to be there before each start.
        ask_to_stop: asks a running process to end; it must not wait for it.
        grace_s: how long it may take after that.
        dies_by: signal that the kernel sends it when the starter dies.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    is_ready: Callable[[], bool]
    folder: Path | None = None
    prepare: Callable[[], None] = lambda: None
    ask_to_stop: Callable[[int], None] = lambda pid: os.kill(pid, signal.SIGTERM)
    grace_s: float = 10.0
    dies_by: signal.Signals = signal.SIGKILL


class Running:
    """A started program."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes], note: Path) -> None:
        self.program = program
        self.pid = process.pid
        self._process = process
        self._note = note

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Ask the process to end, without waiting."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self.program.ask_to_stop(self.pid)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process; return whether it came."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End the process and what it started, at once, and forget it."""
        kill_group(self.pid)
        self._process.wait()
        self._note.unlink(missing_ok=True)

    def stop(self) -> bool:
        """End the process: ask, wait its grace, kill. Return whether it ended by itself."""
        self.ask_to_stop()
        by_itself = self.wait(self.program.grace_s)
        self.kill()
        return by_itself


def start(program: Program, notes: Path) -> Running:
    """Start a program in a process group of its own and note it in the folder `notes`.

    Must be called by the main thread: the kernel's signal on the starter's death goes by threads.
    """
    program.prepare()
    program.log.parent.mkdir(parents=True, exist_ok=True)
    shorten_log(program.log)
    with program.log.open("ab") as log:
        process = subprocess.Popen(
            program.command,
            env=dict(program.environment),
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_death_signal(program.dies_by),  # noqa: PLW1509  # one prctl, no locks
        )
    notes.mkdir(parents=True, exist_ok=True)
    note = notes / f"{program.name}.json"
    _write_note(note, process.pid)
    return Running(program, process, note)


def wait_until_ready(running: Running, seconds: float) -> None:
    """Wait until a program works.

    Raises:
        ServerError: it ended, or it did not work in time; the message quotes its log.
    """
    program, deadline = running.program, time.monotonic() + seconds
    while not program.is_ready():
        if running.exit_code is not None:
            raise ServerError(
                f"{program.name} ended with code {running.exit_code} while starting; its log "
                f"{program.log} ends with: {last_lines(program.log)}"
            )
        if time.monotonic() > deadline:
            raise ServerError(
                f"{program.name} did not answer within {seconds:.0f} s; its log {program.log} "
                f"ends with: {last_lines(program.log)}"
            )
        time.sleep(_POLL_S)


def clear_left_over(notes: Path) -> list[str]:
    """End every process that a note still names; return their names.

    To be called only by who holds the stack's lock: the starter of these processes is dead.
    """
    left = []
    for note in sorted(notes.glob("*.json")):
        pid = _noted_pid(note)
        if pid is not None and list(_members(pid)):
            left.append(f"{note.stem} (pid {pid})")
            _end_group(pid, grace_s=5)
        note.unlink()
    return left


def kill_group(group: int) -> None:
    """Kill every process of a group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def started_at(pid: int) -> str | None:
    """Return what tells this process from another of the same number; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"


def last_lines(log: Path, count: int = 3) -> str:
    """Return the last lines of a log that are not empty, for a message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except FileNotFoundError:
        return "(there is none)"
    return " | ".join([line for line in lines if line][-count:]) or "(it is empty)"


def shorten_log(log: Path) -> None:
    """Keep a log small: over 20 MiB it is moved aside, in place of the one moved before.

    Processes append to the open file, hence a copy and a truncation, not a renaming.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            log.with_suffix(".log.1").write_bytes(log.read_bytes())
            os.truncate(log, 0)


def _death_signal(number: signal.Signals) -> Callable[[], None]:
    # Looked up before the fork: another thread might hold the linker's lock at that moment.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # the parent died before the kernel was asked
            os._exit(1)

    return ask_kernel


def _write_note(note: Path, pid: int) -> None:
    draft = note.with_suffix(".draft")
    draft.write_text(json.dumps({"pid": pid, "started": started_at(pid)}))
    draft.replace(note)


def _noted_pid(note: Path) -> int | None:
    """Return the noted process or its group's number if it is surely still the same one."""
    try:
        noted = json.loads(note.read_text())
        pid, started = int(noted["pid"]), noted["started"]
    except (ValueError, KeyError, TypeError):
        return None
    # While members of its group live, the kernel gives the number of a dead leader to nobody.
    return pid if started_at(pid) in (None, started) else None


def _members(group: int) -> Iterator[int]:
    """The living processes of a session that a started program leads."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                pid = int(folder.name)
                if os.getsid(pid) == group and _runs(pid):
                    yield pid


def _runs(pid: int) -> bool:
    """Tell whether a thread of it lives: the first may be dead before the last frees its ports."""
    return started_at(pid) is not None or len(os.listdir(f"/proc/{pid}/task")) > 1


def _end_group(group: int, grace_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while list(_members(group)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    kill_group(group)
    while list(_members(group)):
        time.sleep(_POLL_S)
