"""Lines of JSON, found in the pieces of a body as they come.

In: pieces, cut anywhere. Out: the lines that are whole, without those that are empty. Never: more
of a line than its first bytes, where it has no end.
"""

from __future__ import annotations

MOST_LINE_BYTES = 128 * 1024  # twice what an event may have, so that it is seen to be too long


class Lines:
    """The lines of one body."""

    __slots__ = ("_is_cut", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._is_cut = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that this piece ends."""
        *whole, rest = piece.split(b"\n")
        if not whole:
            self._keep(rest)
            return []
        self._keep(whole[0])
        whole[0] = self._rest
        self._rest, self._is_cut = b"", False
        self._keep(rest)
        return [line for each in whole if (line := each.strip(b" \t\r"))]

    def finish(self) -> list[bytes]:
        """Return the last line, which needs no end of its own."""
        return self.feed(b"\n")

    def _keep(self, part: bytes) -> None:
        if self._is_cut:
            return
        self._rest += part
        if len(self._rest) > MOST_LINE_BYTES:
            self._rest, self._is_cut = self._rest[:MOST_LINE_BYTES], True
