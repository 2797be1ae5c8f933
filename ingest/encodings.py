"""A body that comes compressed, unfolded piece by piece within a bound.

In: the value of Content-Encoding, then the pieces of a body. Out: the body, or the answer that says
what is wrong with it. Never: more bytes than an event may have plus one, whatever a few bytes
promise to become.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Protocol

from contracts.events import MAX_EVENT_BYTES, Reason
from ingest.answers import Answer, Problem, error

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

# A gzip file may be several in a row, so may zstd; a thousand empty ones are nobody's event.
MAX_MEMBERS = 16
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
    CORRUPT = auto()
    INCOMPLETE = auto()


class Unfolding:
    """A body that is being unfolded."""

    def __init__(self, name: str, begin: _Begin, *, most_members: int = MAX_MEMBERS) -> None:
        self._name = name
        self._begin = begin
        self._most_members = most_members
        self._members = 0
        self._current: _Decompressor | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Answer | None:
        """Take a piece; return the answer to a body that need not be read any further."""
        flaw = self._unfold(piece)
        return None if flaw is None else _answer(flaw, self._name)

    def finish(self) -> bytes | Answer:
        """Return the body, or the answer to one that has not come to its end."""
        if self._current is None or not self._current.eof:
            return _answer(Flaw.INCOMPLETE, self._name)
        return b"".join(self._pieces)

    def _unfold(self, piece: bytes) -> Flaw | None:
        while piece:
            current = self._current
            if current is None or current.eof:
                if self._members == self._most_members:
                    return Flaw.CORRUPT
                self._members += 1
                self._current = current = self._begin(piece[0])
            try:
                unfolded = current.decompress(piece, MAX_EVENT_BYTES + 1 - self._size)
            except (zlib.error, ZstdError):
                return Flaw.CORRUPT
            self._pieces.append(unfolded)
            self._size += len(unfolded)
            if self._size > MAX_EVENT_BYTES:
                return Flaw.TOO_LARGE
            piece = current.unused_data if current.eof else b""
        return None


def flaws() -> Iterator[Answer]:
    """Give each answer to a compressed body that cannot be unfolded."""
    return (_answer(flaw, "gzip") for flaw in Flaw)


def is_known(encoding: bytes) -> bool:
    """Tell whether a Content-Encoding can be unfolded."""
    return _normalized(encoding) in _KNOWN


def unfolding_of(encoding: bytes) -> Unfolding | None:
    """Return how a body of this Content-Encoding, a known one, is unfolded; None for identity."""
    return _KNOWN[_normalized(encoding)]()


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


_KNOWN: dict[bytes, Callable[[], Unfolding | None]] = {
    b"": lambda: None,
    b"identity": lambda: None,
    b"gzip": lambda: Unfolding("gzip", _begin_gzip),
    b"x-gzip": lambda: Unfolding("gzip", _begin_gzip),
    b"deflate": lambda: Unfolding("deflate", _begin_deflate, most_members=1),
    b"zstd": lambda: Unfolding("zstd", _begin_zstd),
}


def _answer(flaw: Flaw, name: str) -> Answer:
    match flaw:
        case Flaw.TOO_LARGE:
            message = f"The body unfolds to more than {MAX_EVENT_BYTES} bytes"
            return error(Reason.TOO_LARGE, message)
        case Flaw.CORRUPT:
            message = f"Content-Encoding says {name}, but the body, or what follows it, is not that"
            return error(Problem.INVALID_ENCODING, message)
        case Flaw.INCOMPLETE:
            message = f"The body ends before its {name} does"
            return error(Problem.INVALID_ENCODING, message)
