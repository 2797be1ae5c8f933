"""Keeps programs running: starts them, waits until they work, restarts the dead, stops all.

In: stages of `Program`s; a stage is started when the one before works. Out: lines for people, and
processes that run until somebody asks for the end. Never: a silent restart, or a process left
behind.

Everything happens in the main thread, in small steps: a signal is seen within a tenth of a second.
"""

from __future__ import annotations

import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.markup import escape

from contracts.metrics import PROGRAM_RESTARTS, PROGRAM_UP
from deploy.local.processes import (
    Program,
    Running,
    ServerError,
    last_lines,
    shorten_log,
    start,
)
from runtime.monitoring.measures import Sample

EXIT_CONFIGURATION = 78
_STEP_S = 0.1
_LOGS_EVERY_S = 60.0
_SAME_PRESS_S = 1.0
_STARTS_TRIED = 3

Say = Callable[[str], None]


class StopRequestedError(Exception):
    """Somebody asked for the end while the stack was still starting."""


class StopRequests:
    """Counts the wishes to end; the second one means: at once.

    Signals within a second are one wish: make passes on what its whole group was sent.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._terminal: int | None = None
        self.at_once = False

    @property
    def asked(self) -> bool:
        """Whether the end was asked for, if only by closing the terminal."""
        if self._first is None and self._terminal is not None and _is_gone(self._terminal):
            self.note(time.monotonic())
        return self._first is not None

    def note(self, now: float) -> None:
        """Note a wish at the moment `now`, in seconds of a steady clock."""
        if self._first is None:
            self._first = now
        elif now - self._first > _SAME_PRESS_S:
            self.at_once = True

    def listen(self) -> None:
        """Take the signals that end a program, also where the parent had them ignored.

        A hang-up stays ignored where it was: that is what `nohup` asks for. Otherwise the terminal
        is watched besides, as a hang-up may reach make alone, which does not pass it on.
        """
        wanted = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
            self._terminal = sys.stdout.fileno() if sys.stdout.isatty() else None
        for number in wanted:
            signal.signal(number, lambda *_: self.note(time.monotonic()))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)


class Backoff:
    """How long to wait before a restart: from half a second to half a minute, doubling.

    A program that ran for a minute begins anew.
    """

    _FIRST_S, _LAST_S, _GOOD_RUN_S = 0.5, 30.0, 60.0

    def __init__(self) -> None:
        self._next_s = self._FIRST_S

    def delay_after(self, ran_s: float) -> float:
        """Return the seconds to wait after a run of `ran_s` seconds."""
        if ran_s >= self._GOOD_RUN_S:
            self._next_s = self._FIRST_S
        delay, self._next_s = self._next_s, min(2 * self._next_s, self._LAST_S)
        return delay


class Part:
    """One program and its life: running, ready, or waiting for its restart."""

    def __init__(self, program: Program, notes: Path, say: Say) -> None:
        self.program = program
        self.ready = False
        self.restarts = 0
        self._notes, self._say = notes, say
        self._backoff = Backoff()
        self._running: Running | None = None
        self._started = self._restart_at = 0.0
        self._restarted = False
        self._failed_starts = 0

    def start(self, now: float) -> None:
        """Start the program."""
        self.ready, self._started = False, now
        self._running = start(self.program, self._notes)

    def step(self, now: float, *, starting: bool) -> None:
        """Look after the program once: notice its end, restart it, notice that it works.

        Raises:
            RefusedError: it refuses to start, and the stack is still starting.
            ServerError: it ended again and again, and the stack is still starting.
        """
        if self._running is None:
            if now >= self._restart_at:
                self._restarted = True
                self.restarts += 1
                self.start(now)
        elif (code := self._running.exit_code) is not None:
            self._bury(code, now, starting)
        elif not self.ready and self.program.is_ready():
            self.ready = True
            if self._restarted:
                self._say(f"[green]✓[/] {self.program.name} works again")

    def ask_to_stop(self) -> None:
        """Ask the program to end."""
        if self._running is not None:
            self._running.ask_to_stop()

    def ended(self) -> bool:
        """Return whether no process of it runs."""
        return self._running is None or self._running.exit_code is not None

    def kill(self) -> None:
        """End whatever is left of it, at once."""
        if self._running is not None:
            self._running.kill()
            self._running = None

    def _bury(self, code: int, now: float, starting: bool) -> None:
        self.kill()
        program = self.program
        if code == EXIT_CONFIGURATION and starting:
            raise RefusedError(last_lines(program.log, 1))
        self._failed_starts = 0 if self.ready else self._failed_starts + 1
        if starting and self._failed_starts >= _STARTS_TRIED:
            raise ServerError(
                f"{program.name} ended {_STARTS_TRIED} times while starting ({_ending(code)}); its "
                f"log {program.log} ends with: {last_lines(program.log)}"
            )
        delay = self._backoff.delay_after(now - self._started)
        self._restart_at, self.ready = now + delay, False
        self._say(
            f"[red]✗[/] {program.name} ended ({_ending(code)}); restart in {delay:g} s; "
            f"log {program.log}: {escape(last_lines(program.log, 2))}"
        )


class RefusedError(Exception):
    """A part refuses to start, by its own sentence: a restart would not help."""


class Supervisor:
    """All parts of a stack, stage by stage."""

    def __init__(self, notes: Path, requests: StopRequests, say: Say) -> None:
        self._notes, self._requests, self._say = notes, requests, say
        self._stages: list[list[Part]] = []
        self._logs_seen = time.monotonic()

    def start_stage(self, programs: Sequence[Program], seconds: float) -> None:
        """Start programs side by side and wait until all of them work.

        Raises:
            ServerError: one does not work in time.
            RefusedError: one refuses to start.
            StopRequestedError: somebody asked for the end meanwhile.
        """
        stage = [Part(program, self._notes, self._say) for program in programs]
        self._stages.append(stage)
        began = time.monotonic()
        for part in stage:
            part.start(time.monotonic())
        waiting = list(stage)
        while waiting:
            self._step(starting=True)
            for part in [part for part in waiting if part.ready]:
                waiting.remove(part)
                self._say(f"[green]✓[/] {part.program.name} [dim]{time.monotonic() - began:.1f} s")
            if waiting and time.monotonic() - began > seconds:
                raise ServerError(_not_in_time([part.program for part in waiting], seconds))

    def run_once(self, program: Program, seconds: float) -> None:
        """Run a program to its end.

        Raises:
            ServerError: it failed or took too long; the message quotes its log.
            StopRequestedError: somebody asked for the end meanwhile.
        """
        began = time.monotonic()
        running = start(program, self._notes)
        try:
            while running.exit_code is None:
                self._step(starting=True)
                if time.monotonic() - began > seconds:
                    raise ServerError(_not_in_time([program], seconds))
            code = running.exit_code
        finally:
            running.kill()
        if code == EXIT_CONFIGURATION:
            raise RefusedError(last_lines(program.log, 1))
        if code != 0:
            raise ServerError(
                f"{program.name} failed ({_ending(code)}); its log {program.log} ends with: "
                f"{last_lines(program.log)}"
            )
        self._say(f"[green]✓[/] {program.name} [dim]{time.monotonic() - began:.1f} s")

    def watch(self) -> None:
        """Look after all parts until somebody asks for the end."""
        while True:
            try:
                self._step(starting=False)
            except StopRequestedError:
                return

    def stop(self) -> None:
        """Stop everything, the last stage first; at once if that is asked for meanwhile."""
        while self._stages:
            self._stop_stage(self._stages[-1])
            self._stages.pop()

    def samples(self) -> Iterator[Sample]:
        """Give the numbers for Prometheus."""
        for part in [part for stage in list(self._stages) for part in stage]:
            yield PROGRAM_UP, (part.program.name,), int(part.ready)
            yield PROGRAM_RESTARTS, (part.program.name,), part.restarts

    def _step(self, *, starting: bool) -> None:
        if self._requests.asked:
            raise StopRequestedError
        parts = [part for stage in self._stages for part in stage]
        now = time.monotonic()
        for part in parts:
            part.step(now, starting=starting)
        if now - self._logs_seen > _LOGS_EVERY_S:
            self._logs_seen = now
            for part in parts:
                shorten_log(part.program.log)
        time.sleep(_STEP_S)

    def _stop_stage(self, stage: list[Part]) -> None:
        for part in stage:
            part.ask_to_stop()
        began = time.monotonic()
        while not all(part.ended() for part in stage):
            late = [
                part
                for part in stage
                if not part.ended() and time.monotonic() - began > part.program.grace_s
            ]
            for part in stage if self._requests.at_once else late:
                if not part.ended():
                    self._say(f"[yellow]![/] {part.program.name} did not end by itself; killed")
                part.kill()
            time.sleep(_STEP_S / 2)
        for part in stage:
            part.kill()


def _is_gone(terminal: int) -> bool:
    """Whether the other side of a terminal was closed."""
    watch = select.poll()
    watch.register(terminal, 0)
    return bool(watch.poll(0))


def _ending(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _not_in_time(programs: Sequence[Program], seconds: float) -> str:
    first = programs[0]
    names = ", ".join(program.name for program in programs)
    return (
        f"{names} did not work within {seconds:.0f} s; the log {first.log} ends with: "
        f"{last_lines(first.log)}"
    )
