"""A transport that writes once a turn of the event loop.

In: what a protocol writes. Out: one call of the transport behind for all of a turn. Never: a piece
out of order, or lost at a close; an error where the client has gone before its answer went out.
"""

from __future__ import annotations

import asyncio
from typing import Any


class GatheringTransport:
    """A transport that writes once a turn of the loop; all else is the transport's behind it."""

    __slots__ = ("_has_ended", "_loop", "_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._has_ended = False

    def write(self, data: bytes) -> None:
        """Write in this turn of the loop."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def write_whole(self, answer: bytes) -> None:
        """Write now what is whole, unless something waits that goes before it."""
        if self._pieces:
            self._pieces.append(answer)
        elif not (self._has_ended or self._transport.is_closing()):
            self._transport.write(answer)

    def write_eof(self) -> None:
        """Write what is there, then say that nothing more comes; what comes is dropped."""
        self._flush()
        if not (self._has_ended or self._transport.is_closing()):
            self._has_ended = True
            self._transport.write_eof()

    def close(self) -> None:
        """Write what is there, then close."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the transport is closed or about to be."""
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        """Return what the transport behind has under this name."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        pieces = self._pieces
        if pieces:
            self._pieces = []
            if not (self._has_ended or self._transport.is_closing()):
                self._transport.write(b"".join(pieces))
