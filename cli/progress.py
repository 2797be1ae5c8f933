"""How far something has got: a bar with a rate on a terminal, plain lines elsewhere.

In: a total, and how many more are done from time to time. Out: what people see. Never: more than
ten lines where nobody watches a bar.
"""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_SHOWN_EVERY = 500


class Bar:
    """A progress bar; a line each tenth where there is no terminal."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._done = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("[cyan]{task.fields[rate]}[/]"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, rate="")
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        """Show it."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it as it is."""
        self._progress.stop()

    def advance(self, count: int) -> None:
        """Note that so many more are done."""
        before, self._done = self._done, self._done + count
        if self._done // _SHOWN_EVERY != before // _SHOWN_EVERY or self._done == self._total:
            rate = self._done / max(time.monotonic() - self._began, 0.001)
            self._progress.update(self._task, completed=self._done, rate=f"{rate:,.0f}/s")
        tenth = max(1, self._total // 10)
        if not self._console.is_terminal and self._done // tenth != before // tenth:
            self._console.print(f"{self._title}: {self._done:,} of {self._total:,}")
