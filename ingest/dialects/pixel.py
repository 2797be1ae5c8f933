"""An event in a URL, for what can only load an image: a mail, a page without scripts.

In: the query of `GET /pixel.gif`. Out: an event of POST /track. Never: a look at headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw

from contracts.events import Reason, Rejected
from contracts.metadata import JSONError, encode_json, parse_json
from ingest.dialects.dialect import Refused, Said, Sent

# One transparent point.
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
FIELDS = ("event", "user_id", "timestamp", "event_id")
METADATA, PREFIX = "metadata", "metadata."
_MOST_FIELDS = 200
_encode = msgspec.json.Encoder().encode


def translate_pixel(sent: Sent) -> Said | Rejected:
    """Return the event of a URL: its fields, and metadata as JSON or as `metadata.NAME=TEXT`."""
    try:
        given = parse_qsl(
            sent.query.decode("utf-8", "replace"),
            keep_blank_values=True,
            errors="replace",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        return Rejected(Reason.INVALID_JSON, f"The URL has more than {_MOST_FIELDS} parameters")
    named = dict(given)
    metadata = _metadata_of(named)
    if isinstance(metadata, Rejected):
        return metadata
    fields: dict[str, object] = {name: named[name] for name in FIELDS if name in named}
    if metadata:
        fields[METADATA] = Raw(encode_json(metadata))
    return Said((_encode(fields),), is_single=True)


def confirm_pixel(_: int, __: Sequence[Refused]) -> bytes:
    """Return the image."""
    return GIF


def _metadata_of(named: dict[str, str]) -> dict[str, object] | Rejected:
    metadata: object = {}
    if METADATA in named:
        try:
            metadata = parse_json(named[METADATA].encode())
        except JSONError as error:
            return Rejected(Reason.INVALID_METADATA, f"metadata {error}")
    if not isinstance(metadata, dict):
        return Rejected(Reason.INVALID_METADATA, "metadata must be an object")
    single = {
        name.removeprefix(PREFIX): value for name, value in named.items() if name.startswith(PREFIX)
    }
    return {**metadata, **single}
