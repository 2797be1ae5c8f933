"""What a translation is given and what it makes.

In: nothing. Out: the types that all dialects share. Never: a rule of one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from contracts.events import Rejected

RecordHeaders: TypeAlias = list[tuple[str, bytes]]


class Sent(msgspec.Struct, gc=False, frozen=True):
    """A request whose body has arrived.

    Attributes:
        received_ms: when, in milliseconds since 1970.
        renamed: what events of some names are to be called here, both as JSON texts.
    """

    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    received_ms: int
    renamed: Mapping[bytes, bytes] = MappingProxyType({})


class Said(msgspec.Struct, gc=False):
    """What a request says.

    Attributes:
        values: the values of the records, one an event.
        headers: the headers of all these records, beside those of the sender.
        key: a key that the body or the URL shows, for a request without one in its headers.
        is_single: whether it is about one event; if that is none, the request is refused.
    """

    values: Sequence[bytes]
    headers: RecordHeaders = []
    key: bytes | None = None
    is_single: bool = False


class Refused(msgspec.Struct, gc=False, frozen=True):
    """An event of a batch that is none: its place, counted from 0, and why."""

    index: int
    code: str
    message: str


Translate: TypeAlias = Callable[[Sent], Said | Rejected]
# Makes the body of the answer to what was taken: how many events, and which were none.
Confirm: TypeAlias = Callable[[int, Sequence[Refused]], bytes]
encode_refused = msgspec.json.Encoder().encode
