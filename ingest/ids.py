"""Event ids: made where a client gave none, read from a header, and written into one.

In: a clock's milliseconds, or the bytes of a header. Out: a UUIDv7, the text of a key, an id that
is safe in a header. Never: a look into a body.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from contracts.events import Reason, Rejected, check_event_id

_COUNTERS = 4096  # the 12 bits after the version count within a millisecond
_POOL_IDS = 512
_ID_HEX = (
    16  # hexadecimal digits of randomness taken for one id; two bits make room for the variant
)
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_UNRESERVED = re.compile("[A-Za-z0-9._~-]*")
_ESCAPED = re.compile(r"\\([\"\\])")
_QUOTED = re.compile(r'"(?:[^"\\]|\\["\\])*"')


class EventIds:
    """UUIDs of version 7 (RFC 9562, method 1): time, a counter, 62 random bits.

    Those of one process never go back, also when its clock does. The randomness is fetched for
    many ids at once, since a system call would cost more than all the rest.
    """

    __slots__ = ("_counter", "_millisecond", "_pool", "_position", "_prefix")

    def __init__(self) -> None:
        self._millisecond = -1
        self._prefix = ""
        self._counter = 0
        self._pool = ""
        self._position = 0

    def next(self, now_ms: int) -> str:
        """Return a new id for this time in milliseconds since 1970."""
        if now_ms > self._millisecond:
            self._begin(now_ms)
        elif self._counter == _COUNTERS - 1:
            self._begin(self._millisecond + 1)
        else:
            self._counter += 1
        start = self._position
        if start == len(self._pool):
            self._pool, start = os.urandom(_POOL_IDS * _ID_HEX // 2).hex(), 0
        self._position = end = start + _ID_HEX
        digits = self._pool[start:end]
        variant = _VARIANT[digits[0]]
        return f"{self._prefix}{self._counter:03x}-{variant}{digits[1:4]}-{digits[4:]}"

    def _begin(self, millisecond: int) -> None:
        digits = f"{millisecond:012x}"
        self._millisecond = millisecond
        self._prefix = f"{digits[:8]}-{digits[8:]}-7"
        self._counter = 0


def client_key(headers: Mapping[bytes, bytes]) -> str | Rejected | None:
    """Return the `Idempotency-Key` of a request, if it has one, or what is wrong with it."""
    given = headers.get(b"idempotency-key")
    if given is None:
        return None
    key = parse_idempotency_key(given)
    if key is None:
        return Rejected(Reason.INVALID_EVENT_ID, "Idempotency-Key is not a quoted string")
    rejected = check_event_id(key)
    if rejected is not None:
        return Rejected(rejected.reason, f"Idempotency-Key is no event_id: {rejected.message}")
    return key


def parse_idempotency_key(value: bytes) -> str | None:
    """Return the key of an `Idempotency-Key` header, a quoted or a bare string.

    Returns None where a quoted string is not closed or has something behind it. Bytes are UTF-8,
    or else Latin-1: both are seen, and any key is better than none.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    text = text.strip(" \t")
    if not text.startswith('"'):
        return text
    if _QUOTED.fullmatch(text) is None:
        return None
    return _ESCAPED.sub(r"\1", text[1:-1])


def header_of(event_id: str) -> bytes:
    """Return an id as `X-Event-Id` carries it: UTF-8, percent-encoded but for unreserved ones."""
    if _UNRESERVED.fullmatch(event_id) is not None:
        return event_id.encode()
    return quote(event_id, safe="").encode()
