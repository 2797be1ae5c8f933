"""Somebody who asks while something else is measured: the analyst, and whoever asks in rounds.

In: an address, a question. Out: the times of the rounds. Never: a refusal taken for an answer.
"""

from __future__ import annotations

import base64
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from statistics import median
from urllib.parse import urlsplit

from tests.benchmarks.figures import BenchmarkError

_QUESTIONS = (
    "SELECT user_id, count() AS n, uniqExact(event_id) FROM events GROUP BY user_id ORDER BY n",
    "SELECT metadata.song_id.:String AS song, event, count() FROM events GROUP BY song, event",
    "SELECT toStartOfMinute(timestamp) AS minute, uniq(user_id), quantile(0.9)(log_offset) "
    "FROM events GROUP BY minute",
)


class Analyst:
    """Somebody who asks heavy questions, one after the other."""

    def __init__(self, url: str, database: str) -> None:
        parts = urlsplit(url)
        login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        self._url = f"http://127.0.0.1:{parts.port}/?database={database}"
        self._headers = {"Authorization": f"Basic {login}"}

    def ask_for(self, seconds: float) -> float:
        """Ask for so many seconds; return the median time of a round."""
        with self.asking() as times:
            time.sleep(seconds)
        return median(times)

    def asking(self) -> Asking:
        """Ask while the block lasts; give the times of the rounds that were answered in it."""
        return Asking(self._ask_round)

    def _ask_round(self) -> float:
        began = time.monotonic()
        for question in _QUESTIONS:
            request = urllib.request.Request(  # an address of ours
                self._url, f"{question} FORMAT Null".encode(), self._headers
            )
            try:
                with urllib.request.urlopen(request, timeout=70) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace").strip()
                raise BenchmarkError(f"the analyst was refused: {said}") from error
        return time.monotonic() - began


class Asking:
    """A thread that asks from the beginning of a block to its end."""

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._times: list[float] = []
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> list[float]:
        self._thread.start()
        return self._times

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(80)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        """A round that ends after the block counts, if it is the only one."""
        try:
            while not self._over.is_set():
                taken_s = self._ask()
                if not self._over.is_set() or not self._times:
                    self._times.append(taken_s)
        except Exception as error:  # noqa: BLE001  # it is raised where the block ends
            self._failure = error
