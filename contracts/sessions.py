"""A session: a play and the stop that closed it.

In: what the two events say. Out: the session's id and its attributes. Never: a clock.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

from contracts.metadata import MAX_METADATA_BYTES, encode_json, fitting, parse_json

MAX_ATTRIBUTES_BYTES = 256
_NOTHING = b"{}"
_pack_length = Struct(">I").pack


def session_id(user_id: str, play_id: str, stop_id: str) -> str:
    """Return blake2b-128, in hex, over the three, each preceded by its UTF-8 length (4 bytes)."""
    user, play, stop = user_id.encode(), play_id.encode(), stop_id.encode()
    framed = b"%b%b%b%b%b%b" % (
        _pack_length(len(user)), user, _pack_length(len(play)), play, _pack_length(len(stop)), stop
    )  # fmt: skip
    return blake2b(framed, digest_size=16).hexdigest()


def attributes_of(metadata: bytes) -> bytes:
    """Return the play's top-level strings, numbers and booleans as JSON of at most 256 bytes.

    They are tried in order; one that does not fit is skipped.
    """
    if len(metadata) <= MAX_ATTRIBUTES_BYTES and _is_flat(metadata):
        return metadata
    if metadata == _NOTHING:
        return metadata
    values = parse_json(metadata)
    if not isinstance(values, dict) or len(metadata) > 2 * MAX_METADATA_BYTES:
        raise ValueError("attributes are taken of admitted metadata")
    plain = ((key, value) for key, value in values.items() if isinstance(value, str | bool))
    return encode_json(fitting(plain, MAX_ATTRIBUTES_BYTES))


def _is_flat(metadata: bytes) -> bool:
    return metadata.rfind(b"{") == 0 and 0x5B not in metadata and b"null" not in metadata
