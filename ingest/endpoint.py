"""What all endpoints that take events have in common: a request is answered, timed and counted.

In: an ASGI request. Out: an answer, whatever happens. Never: a second answer.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from asyncio import Future
from collections import Counter
from time import monotonic
from typing import Protocol

from starlette.types import Receive, Scope, Send

from contracts.metrics import ACKNOWLEDGEMENT
from ingest.answers import FAILED, Answer
from runtime.monitoring.measures import Histogram

_log = logging.getLogger(__name__)


class TakesEvents(Protocol):
    """What endpoints need of the way into Kafka."""

    def put(self, user_id: str, value: bytes, headers: list[tuple[str, bytes]]) -> Future[bool]:
        """Hand over an event and its record's headers; the future says whether it is logged."""


class TakesAll(TakesEvents, Protocol):
    """What those need that keep what is no event."""

    def put_anywhere(self, value: bytes, headers: list[tuple[str, bytes]]) -> Future[bool]:
        """Hand over a record that is no event, and so has no user."""


class Endpoint(ABC):
    """An endpoint, a bare ASGI application, and what it has counted."""

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.acknowledged = Histogram(ACKNOWLEDGEMENT)
        self.refusals: Counter[str] = Counter()
        self._observe = self.acknowledged.observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = monotonic()
        try:
            answer = await self.answer(scope, receive, dict(scope["headers"]))
        except Exception:  # noqa: BLE001  # a bug; here it still can be answered as all errors are
            answer = self.failed()
        if answer is None:
            return
        start, end = answer
        if start["status"] == 200:
            self._observe(monotonic() - begun)
        else:
            self.refusals[start["reason"]] += 1
        await send(start)
        await send(end)

    def failed(self) -> Answer:
        """Return the answer to a request that met a bug, and log the error that is handled."""
        _log.exception("%s %s failed", self.method, self.path)
        return FAILED

    @abstractmethod
    async def answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> Answer | None:
        """Return the answer to a request, or None where nobody waits for one."""
