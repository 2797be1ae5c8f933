"""A batch taken apart into the JSON texts of its items, without looking into them.

In: a body. Out: its items and what stands beside them. Never: a judgement on an item.

msgspec takes apart what is right in a few nanoseconds a byte; what it refuses is read again by
`parse_json`, which mends lone surrogates and says what is wrong with the rest. That takes a hundred
times as long, so a long body is not read again, and nobody else has to wait for it.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw

from contracts.events import NULL, Reason, Rejected
from contracts.metadata import JSONError, encode_json, parse_json

Shape = TypeVar("Shape")
ABSENT = Raw(NULL)
# What is read again takes 60 ms at most.
MOST_READ_AGAIN_BYTES = 256 * 1024
# Of a body, whose items would take seventy bytes each before they are counted.
MOST_COMMAS = 1_000_000
_COMMA = 0x2C


class Envelope(msgspec.Struct, gc=False):
    """A batch as an object, as all clients send it; keys and times are JSON texts."""

    batch: list[Raw] | None = None
    sentAt: Raw = ABSENT  # noqa: N815  # a field's name is its key
    sent_at: Raw = ABSENT
    writeKey: Raw = ABSENT  # noqa: N815
    api_key: Raw = ABSENT


_decode_envelope = msgspec.json.Decoder(Envelope)
_decode_array = msgspec.json.Decoder(list[Raw])


def split_envelope(body: bytes) -> Envelope | Rejected:
    """Return a batch that is an object."""
    return read(_decode_envelope, body, "an object whose batch is an array")


def split_array(body: bytes) -> list[Raw] | Rejected:
    """Return the items of a batch that is an array."""
    return read(_decode_array, body, "an array")


def is_array(body: bytes) -> bool:
    """Tell whether a JSON text is that of an array."""
    return body.lstrip(b" \t\r\n")[:1] == b"["


def read(decoder: msgspec.json.Decoder[Shape], body: bytes, shape: str) -> Shape | Rejected:
    """Return what a JSON text holds, mended if need be; `shape` says what it must be."""
    if len(body) > MOST_COMMAS and body.count(_COMMA) > MOST_COMMAS:
        return Rejected(Reason.TOO_LARGE, f"The body has more than {MOST_COMMAS} values")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        return Rejected(Reason.INVALID_JSON, f"The body must be {shape}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if len(body) > MOST_READ_AGAIN_BYTES:
            return Rejected(Reason.INVALID_JSON, f"The body cannot be read: {error}")
    try:
        return decoder.decode(encode_json(parse_json(body)))
    except JSONError as error:
        return Rejected(Reason.INVALID_JSON, f"The body {error}")
    except msgspec.MsgspecError:
        return Rejected(Reason.INVALID_JSON, f"The body must be {shape}")


def text_of(raw: Raw) -> str | None:
    """Return the text that a JSON string holds, or None where it is none."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return value if isinstance(value, str) else None


def key_of(*raws: Raw) -> bytes | None:
    """Return the first of these that is a text with something in it, as a key."""
    for raw in raws:
        if raw is not ABSENT and (text := text_of(raw)):
            return text.encode(errors="surrogatepass")
    return None


def with_more(raw: bytes, more: bytes) -> bytes:
    """Return the text of an object with fields in front; null is an empty one.

    `more` is such fields, each with a comma behind it. Whatever is no object stays as it is, for
    the admission to refuse.

    >>> with_more(b'{"a":1}', b'"b":2,'), with_more(b"{ }", b'"b":2,'), with_more(b"5", b'"b":2,')
    (b'{"b":2,"a":1}', b'{"b":2}', b'5')
    """
    if not more:
        return raw
    if raw == NULL:
        return b"{%b}" % more[:-1]
    if raw[:1] != b"{":
        return raw
    rest = raw[1:].lstrip(b" \t\r\n")
    return b"{%b%b" % (more[:-1], rest) if rest[:1] == b"}" else b"{%b%b" % (more, rest)
