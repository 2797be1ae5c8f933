"""Logs of a service: one line an event on stderr, with a bound on lines that repeat.

In: the name of the service. Out: the set-up of Python's root logger. Never: a character of a
message that is not printed as it is (somebody could forge a line with it, or steer a terminal), or
thousands of equal lines while a server is away: aiokafka writes three lines every 100 ms then, in
every client.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

_LIBRARIES = ("aiokafka", "faust", "mode", "kafka", "clickhouse_connect", "asyncio", "uvicorn")
_BURST, _WINDOW_S = 5, 10.0
_KINDS_KEPT = 1_000


def set_up_logs(service: str) -> None:
    """Send logs to stderr as `time level service logger: message`, in UTC; libraries warn only."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(service))
    handler.addFilter(RepeatLimit())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)


@dataclass(slots=True)
class _Kind:
    """How often one kind of line came since its window began."""

    began: float
    count: int = 0


class RepeatLimit(logging.Filter):
    """Lets five lines of a kind pass in ten seconds; the next window's first line counts the rest.

    A kind is a logger, a level and a message without its arguments. Errors with a traceback pass
    like others: the bound is on each kind alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line passes, by the record's own time."""
        return self.admit(record, time.monotonic())

    def admit(self, record: logging.LogRecord, now: float) -> bool:
        """Return whether the line passes at the moment `now`, in seconds."""
        key = (record.name, record.levelno, str(record.msg))
        kind = self._kinds.get(key)
        if kind is None or now - kind.began >= _WINDOW_S:
            self._begin_window(key, now)
            if kind is not None and kind.count > _BURST:
                record.msg = f"{record.msg} ({kind.count - _BURST} more like it before)"
            return True
        kind.count += 1
        return kind.count <= _BURST

    def _begin_window(self, key: tuple[str, int, str], now: float) -> None:
        if len(self._kinds) >= _KINDS_KEPT:
            self._kinds.clear()
        self._kinds[key] = _Kind(began=now, count=1)


class _OneLine(logging.Formatter):
    """A line that begins with the time in UTC; the lines of a traceback are indented below it."""

    def __init__(self, service: str) -> None:
        super().__init__(
            f"%(asctime)s.%(msecs)03dZ %(levelname)s {service} %(name)s: %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the line, what cannot be printed made visible."""
        return _visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback; what an exception says may come from anybody."""
        lines = super().formatException(ei).splitlines()
        return "\n".join(f"    {_visible(line)}" for line in lines)


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
