"""How far a partition has been processed: the record under the key `p` of `track.state`.

In and out: the bytes of keys and values of `track.state`. Never: a decision.
"""

from __future__ import annotations

import msgspec

POSITION_KEY = b"p"
_USER_MARK = b"u"  # keys of users begin with it, so a user named `p` is `up`


class Position(msgspec.Struct, frozen=True):
    """The next offset to process, and the last record processed: its offset and time of receipt.

    `offset` is -1 while nothing has been processed.
    """

    next: int
    offset: int = -1
    received_at: int = -1


encode_position = msgspec.json.Encoder().encode
decode_position = msgspec.json.Decoder(Position).decode


def user_key(user_id: str) -> bytes:
    """Return the key of a user's state."""
    return _USER_MARK + user_id.encode()


def user_of(key: bytes) -> str | None:
    """Return the user whose state has this key, or None if it is not a user's."""
    return key[1:].decode() if key[:1] == _USER_MARK else None
