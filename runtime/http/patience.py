"""How long a connection is waited for, and the one clock of all connections.

In: the seconds that have passed. Out: connections whose time is over are told. Never: a timer for a
connection or a request: setting and clearing one would cost more than reading the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

HEAD_WITHIN_S = (
    10  # from a connection, or the first byte of a later request, to the end of the head
)
IDLE_S = 75  # longer than proxies keep connections: they close them, and no request meets the end
REST_WITHIN_S = 5  # what still comes of a body that nobody waits for any more
ANSWER_TAKEN_WITHIN_S = 30  # a client that does not read what has been written for it
CLOSED_WITHIN_S = 5  # a client that does not let go of a connection that is closed here
LAST_REQUEST_WITHIN_S = 1  # a request that is on its way when the process begins to end
FOR_EVER = 1 << 62


class Waiting(Protocol):
    """A connection, seen from here."""

    deadline: int

    def expire(self) -> None:
        """Take note that the deadline has passed."""


class Patience:
    """The clock of a process's connections, in whole seconds since it began.

    `is_ending` tells that each connection is to be closed after its next answer.
    """

    def __init__(self) -> None:
        self.second = 0
        self.is_ending = False

    async def watch(self, connections: Collection[Waiting]) -> None:
        """Advance once a second, for ever."""
        while True:
            await asyncio.sleep(1)
            self.advance(connections)

    def advance(self, connections: Collection[Waiting]) -> None:
        """Let a second pass, and tell the connections whose time is over."""
        self.second += 1
        second = self.second
        for each in [each for each in connections if each.deadline <= second]:
            each.expire()
