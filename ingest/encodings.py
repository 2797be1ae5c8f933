"""A body that comes compressed, unfolded part by part within a bound.

In: the value of Content-Encoding, then the pieces of a body. Out: the body, or the answer that says
what is wrong with it. Never: more bytes than the body may have or than there is room for, and one
more, whatever a few bytes promise to become.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Protocol

from contracts.events import MAX_EVENT_BYTES, Reason
from ingest.answers import OVERLOADED, Answer, Problem, error

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

# A gzip file may be several in a row, so may zstd; a thousand empty ones are nobody's event.
MAX_MEMBERS = 16
# Of what is unfolded at a time: a millisecond, in which nobody else has a turn.
PART_BYTES = 128 * 1024
# What RFC 9659 lets a sender use; without a bound a frame of 20 bytes asks for 128 MiB.
_ZSTD: dict[int, int] = {DecompressionParameter.window_log_max: 23}
_DEFLATE_METHOD, _METHOD_BITS = 0x08, 0x8F


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


_Begin = Callable[[int], _Decompressor]


class Flaw(Enum):
    """What can be wrong with a compressed body."""

    TOO_LARGE = auto()
    NO_ROOM = auto()
    CORRUPT = auto()
    INCOMPLETE = auto()


class Unfolding:
    """A body that is being unfolded, to at most so many bytes.

    Attributes:
        size: bytes unfolded so far.
        has_more: whether the last piece has more to unfold, with `go_on`.
    """

    def __init__(
        self, name: str, begin: _Begin, most_bytes: int, *, most_members: int = MAX_MEMBERS
    ) -> None:
        self.size = 0
        self.has_more = False
        self._folded = b""
        self._name = name
        self._begin = begin
        self._most_bytes = most_bytes
        self._most_members = most_members
        self._members = 0
        self._current: _Decompressor | None = None
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes, room: int) -> Answer | None:
        """Take a piece and unfold the first part of it, for which there are so many bytes of room.

        Returns the answer to a body that need not be read any further.
        """
        self._folded = piece
        self.has_more = bool(piece)
        return self.go_on(room)

    def go_on(self, room: int) -> Answer | None:
        """Unfold the next part of the piece, as `feed` does; nothing where it has no more."""
        flaw = self._unfold(self.size + room) if self.has_more else None
        return None if flaw is None else _answer(flaw, self._name, self._most_bytes)

    def take(self) -> bytes:
        """Return what has been unfolded since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def finish(self) -> bytes | Answer:
        """Return what is left of the body, or the answer to one that has not come to its end."""
        if self._current is None or not self._current.eof:
            return _answer(Flaw.INCOMPLETE, self._name, self._most_bytes)
        return self.take()

    def _unfold(self, room: int) -> Flaw | None:
        most = min(self._most_bytes, room)
        current = self._current
        if current is None or current.eof:
            if self._members == self._most_members:
                return Flaw.CORRUPT
            self._members += 1
            self._current = current = self._begin(self._folded[0])
        wanted = min(PART_BYTES, most + 1 - self.size)
        try:
            part = current.decompress(self._folded, wanted)
        except (zlib.error, ZstdError):
            return Flaw.CORRUPT
        self._pieces.append(part)
        self.size += len(part)
        if self.size > most:
            return Flaw.TOO_LARGE if most == self._most_bytes else Flaw.NO_ROOM
        if current.eof:
            self._folded = current.unused_data
            self.has_more = bool(self._folded)
        else:
            # What zstd has not read yet it keeps itself.
            self._folded = getattr(current, "unconsumed_tail", b"")
            self.has_more = len(part) == wanted
        return None


def flaws(most_bytes: int) -> Iterator[Answer]:
    """Give each answer to a compressed body that cannot be unfolded to so many bytes."""
    return (_answer(flaw, "gzip", most_bytes) for flaw in Flaw)


def is_known(encoding: bytes) -> bool:
    """Tell whether a Content-Encoding can be unfolded."""
    return _normalized(encoding) in _KNOWN


def unfolding_of(encoding: bytes, most_bytes: int = MAX_EVENT_BYTES) -> Unfolding | None:
    """Return how a body of this Content-Encoding, a known one, is unfolded; None for identity."""
    return _KNOWN[_normalized(encoding)](most_bytes)


def _normalized(encoding: bytes) -> bytes:
    return encoding.strip().lower()


def _begin_gzip(_: int) -> _Decompressor:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _begin_deflate(first: int) -> _Decompressor:
    """Take it with zlib's head, as the standard says, or without, as many senders understood it."""
    has_head = first & _METHOD_BITS == _DEFLATE_METHOD
    return zlib.decompressobj(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)


def _begin_zstd(_: int) -> _Decompressor:
    return ZstdDecompressor(options=_ZSTD)


_KNOWN: dict[bytes, Callable[[int], Unfolding | None]] = {
    b"": lambda _: None,
    b"identity": lambda _: None,
    b"gzip": lambda most: Unfolding("gzip", _begin_gzip, most),
    b"x-gzip": lambda most: Unfolding("gzip", _begin_gzip, most),
    b"deflate": lambda most: Unfolding("deflate", _begin_deflate, most, most_members=1),
    b"zstd": lambda most: Unfolding("zstd", _begin_zstd, most),
}


def _answer(flaw: Flaw, name: str, most_bytes: int) -> Answer:
    match flaw:
        case Flaw.TOO_LARGE:
            message = f"The body unfolds to more than {most_bytes} bytes"
            return error(Reason.TOO_LARGE, message)
        case Flaw.NO_ROOM:
            return OVERLOADED
        case Flaw.CORRUPT:
            message = f"Content-Encoding says {name}, but the body, or what follows it, is not that"
            return error(Problem.INVALID_ENCODING, message)
        case Flaw.INCOMPLETE:
            message = f"The body ends before its {name} does"
            return error(Problem.INVALID_ENCODING, message)
