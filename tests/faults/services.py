"""The services of one trial: processes of their own, started again whenever they end.

In: settings for each service. Out: processes that a scenario kills, pauses and stops; how each of
them ended; the most memory each has used. Never: a process left behind.

One thread looks after all of them, as the supervisor of `track up` does, but without its growing
pause: a service is started again half a second after its end. Ends that only a fault of ours
explains are noted: code 78, which says that tables, log and settings do not fit, and any other that
is neither 0, 70 nor the test's own SIGKILL.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.local.processes import Program, Running, last_lines, start
from runtime.failpoints import FAILPOINT
from runtime.ready import READY_FILE
from runtime.settings import Settings
from tests.benchmarks.programs import ROOT, answers, beside_python
from tests.environments import environment_of

KILLED = -signal.SIGKILL
RESTART = 70
_PAUSE_S, _STEP_S = 0.5, 0.05
_READY_WITHIN_S = 90.0
_GRACE_S = 25.0
# What a service may use, in MB, whatever the load: half as much again as it was seen to use.
_RSS_MB: Mapping[str, float] = {"serve": 150, "sessionizer": 300, "writer": 300}
# And for each record of the log: an id that is remembered (processors/sessionizer/duplicates.py).
_RSS_BYTES_A_RECORD: Mapping[str, int] = {"sessionizer": 88}


class ServiceError(Exception):
    """A service did not do in time what a scenario waits for; the message quotes its log."""


class Service:
    """One process of a kind, through all its lives.

    Attributes:
        name: its kind, with a number where there are several.
        ends: how each life ended, in order.
        expected_ends: codes that this scenario brings about, beside those that are always right.
    """

    def __init__(self, name: str, command: str, settings: Settings, folder: Path) -> None:
        self.name = name
        self.command = command
        self.settings = settings
        self.log = folder / f"{name}.log"
        self.ends: list[int] = []
        self._armed: list[str] = []
        self._last_words: list[str] = []
        self.expected_ends: set[int] = set()
        self.rss_mb = 0.0
        self._folder = folder
        self._ready = folder / f"{name}.ready"
        self._lock = threading.RLock()
        self._running: Running | None = None
        self._wanted = False
        self._failpoint = ""
        self._restart_at = 0.0
        self._paused = False
        self._asked = False

    # --- what a scenario does ---------------------------------------------------------------------

    def start(self, failpoint: str = "") -> None:
        """Want the service; its next life is to end at a failpoint (`name:n`), if one is named."""
        with self._lock:
            self._wanted, self._failpoint, self._restart_at = True, failpoint, 0.0

    def wait_until_ready(self, seconds: float = _READY_WITHIN_S) -> None:
        """Wait until the service works."""
        self._wait(self.is_ready, "does not work", seconds)

    def kill(self) -> None:
        """Kill -9; it is started again."""
        with self._lock:
            if self._running is not None:
                os.kill(self._running.pid, signal.SIGKILL)

    def kill_at(self, failpoint: str) -> None:
        """Kill it now, and its next life at a failpoint; wait for neither."""
        with self._lock:
            self._failpoint = failpoint
            self.kill()

    def terminate_with(self, failpoint: str) -> None:
        """Ask it to end in order, and let its next life end at a failpoint."""
        with self._lock:
            self._failpoint = failpoint
            self.terminate()

    def terminate(self) -> None:
        """Ask it to end in order; it is started again."""
        with self._lock:
            if self._running is not None:
                self._asked = True
                self._running.ask_to_stop()

    def pause(self) -> None:
        """Stop it from running, as a suspended machine does."""
        with self._lock:
            self._paused = True
            self._signal(signal.SIGSTOP)

    def pause_at(self, failpoint: str) -> None:
        """Kill it now, and let its next life stand still at a failpoint; wait for neither."""
        self.kill_at(f"{failpoint}:pause")

    def is_paused(self) -> bool:
        """Whether it stands still."""
        with self._lock:
            return self._running is not None and _state(self._running.pid) == "T"

    def resume(self) -> None:
        """Let it go on."""
        with self._lock:
            self._paused = False
            self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end, and see that it does; it is not started again."""
        with self._lock:
            self._wanted = False
        self.resume()
        self.terminate()
        try:
            self._wait(lambda: self._running is None, "does not end", _GRACE_S)
        except ServiceError:
            self.end()
            raise

    def end(self) -> None:
        """Kill -9; it is not started again."""
        with self._lock:
            self._wanted = False
            self.kill()
        self._wait(lambda: self._running is None, "cannot be killed", _GRACE_S)

    def wait_for_end(self, after: int, seconds: float = _READY_WITHIN_S) -> int:
        """Wait until more than `after` lives have ended; return how the next one did."""
        self._wait(lambda: len(self.ends) > after, "does not end", seconds)
        return self.ends[after]

    def is_ready(self) -> bool:
        """Whether it works at present."""
        with self._lock:
            if self._running is None or self._running.exit_code is not None:
                return False
        if self.command in ("serve", "ingest", "query"):
            return answers(self.settings.port, "/readyz")
        return self._ready.exists()

    def died_at(self, failpoint: str) -> bool:
        """Whether one of its lives has ended at a failpoint."""
        return any(
            armed.partition(":")[0] == failpoint and code == KILLED
            for armed, code in zip(self._armed, self.ends, strict=False)
        )

    def has_said(self, words: str) -> bool:
        """Whether its log, through all its lives, has these words."""
        return words in self.log.read_text(errors="replace")

    def last_words(self) -> str:
        """Return what it has said last."""
        return last_lines(self.log)

    def wrong_ends(self) -> list[str]:
        """Return a sentence for each end that none may have."""
        right = {0, RESTART, KILLED, *self.expected_ends}
        return [
            f"{self.name} ended with {code} and said: {said}"
            for code, said in zip(self.ends, self._last_words, strict=True)
            if code not in right
        ]

    # --- what the thread does ---------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Look after the process once."""
        with self._lock:
            if self._running is None:
                if self._wanted and now >= self._restart_at:
                    self._armed.append(self._failpoint)
                    self._running = start(self._program(), self._folder / "run")
                    self._failpoint = ""
            elif (code := self._running.exit_code) is not None:
                self._running.kill()
                self._running = None
                self._paused = False
                if code == -signal.SIGTERM and self._asked and not self._ready.exists():
                    code = 0  # asked to end before it listened for that, as Python was starting
                self._asked = False
                self._ready.unlink(missing_ok=True)
                self._last_words.append(last_lines(self.log))
                self.ends.append(code)
                self._restart_at = now + _PAUSE_S
            else:
                self.rss_mb = max(self.rss_mb, _peak_mb(self._running.pid))

    def _program(self) -> Program:
        return Program(
            name=self.name,
            command=(beside_python("track"), self.command),
            environment={
                **environment_of(self.settings),
                READY_FILE: str(self._ready),
                FAILPOINT: self._failpoint,
            },
            log=self.log,
            is_ready=lambda: True,
            folder=ROOT,
        )

    def _signal(self, number: signal.Signals) -> None:
        if self._running is not None and self._running.exit_code is None:
            os.kill(self._running.pid, number)

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.name} {what} within {seconds:.0f} s (its lives ended with "
                    f"{self.ends}); its log ends with: {last_lines(self.log)}"
                )
            time.sleep(_STEP_S)


def rss_bound_mb(command: str, records: int) -> float:
    """Return how many MB a service of a kind may use whose log has so many records."""
    return _RSS_MB[command] + _RSS_BYTES_A_RECORD.get(command, 0) * records / 1e6


class Services:
    """All services of a trial, and the thread that looks after them."""

    def __init__(self, folder: Path, settings_of: Callable[[str], Settings]) -> None:
        self._folder = folder
        self._settings_of = settings_of
        self._services: dict[str, Service] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="services", daemon=True)
        self._thread.start()

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def add(self, name: str) -> Service:
        """Return a service that does not run yet; `writer-2` is a second writer."""
        command = name.partition("-")[0]
        service = Service(name, command, self._settings_of(name), self._folder)
        self._services = {**self._services, name: service}
        return service

    def all(self) -> list[Service]:
        """Return all that there are."""
        return list(self._services.values())

    def kill(self) -> None:
        """End all at once, and the thread."""
        for service in self.all():
            service.end()
        self._ending.set()
        self._thread.join(10)

    def _look_after(self) -> None:
        """Step by step; the kernel ends the processes should this thread die."""
        while not self._ending.wait(_STEP_S):
            now = time.monotonic()
            for service in self.all():
                service.step(now)


def _peak_mb(pid: int) -> float:
    """Return the most memory that a process has used so far; 0 where it has just ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _state(pid: int) -> str:
    """Return the letter that the kernel has for what a process does; nothing if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
