"""The rows as they travel: values of `track.accepted`, `track.sessions` and `track.rejected`.

In: what was decided. Out: one JSON object a row, its keys the columns of the table; times are
milliseconds since 1970, UTC. Never: a decision.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

import msgspec
from msgspec import Raw

from contracts.events import MAX_EVENT_BYTES, Reason
from contracts.records import Headers

MAX_KEPT_KEY_BYTES = 1024
MAX_KEPT_HEADERS_BYTES = 16 * 1024


class AcceptedRow(msgspec.Struct, gc=False):
    """An accepted event: a row of the table `events`."""

    event_id: str
    user_id: str
    event: str
    timestamp: int
    received_at: int
    metadata: Raw
    source: str
    log_offset: int


class SessionRow(msgspec.Struct, gc=False):
    """A completed session: a row of the table `sessions`."""

    session_id: str
    user_id: str
    started_at: int
    ended_at: int
    duration_ms: int
    attributes: Raw
    play_id: str
    stop_id: str
    received_at: int
    log_offset: int


class RejectedRow(msgspec.Struct, gc=False):
    """A record that is not an event: a row of the table `rejected_events`.

    `key` and `value` are text where they are UTF-8, else base64 (`*_encoding` says which); of a
    value over 64 KiB the first 64 KiB are kept, with its length and SHA-256. `whole` tells whether
    nothing was cut, so that the record can be replayed.
    """

    reason: Reason
    message: str
    source: str
    log_topic: str
    log_partition: int
    log_offset: int
    received_at: int
    key: str
    key_encoding: str
    value: str
    value_encoding: str
    value_bytes: int
    value_sha256: str
    headers: str
    whole: bool


encode_row = msgspec.json.Encoder().encode


def rejected_row(
    *,
    reason: Reason,
    message: str,
    source: str,
    topic: str,
    partition: int,
    offset: int,
    received_at: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
) -> RejectedRow:
    """Return the row of a record that was rejected, its bytes kept within their limits."""
    kept_headers = _headers_text(headers)
    cut = value is not None and len(value) > MAX_EVENT_BYTES
    kept_key, key_encoding = _text(None if key is None else key[:MAX_KEPT_KEY_BYTES])
    kept_value, value_encoding = _text(None if value is None else value[:MAX_EVENT_BYTES])
    return RejectedRow(
        reason=reason,
        message=message,
        source=source,
        log_topic=topic,
        log_partition=partition,
        log_offset=offset,
        received_at=received_at,
        key=kept_key,
        key_encoding=key_encoding,
        value=kept_value,
        value_encoding=value_encoding,
        value_bytes=len(value or b""),
        value_sha256=hashlib.sha256(value).hexdigest() if cut and value is not None else "",
        headers=kept_headers or "[]",
        whole=not cut and kept_headers is not None and len(key or b"") <= MAX_KEPT_KEY_BYTES,
    )


def content_of(text: str, encoding: str) -> bytes | None:
    """Return the bytes that a key or a value of a `RejectedRow` stands for."""
    if encoding == "null":
        return None
    return b64decode(text) if encoding == "base64" else text.encode()


def headers_of(text: str) -> list[tuple[str, bytes | None]]:
    """Return the headers that a `RejectedRow` keeps."""
    listed = msgspec.json.decode(text, type=list[tuple[str, str | None]])
    return [(name, None if content is None else b64decode(content)) for name, content in listed]


def _text(content: bytes | None) -> tuple[str, str]:
    if content is None:
        return "", "null"
    try:
        return content.decode(), "utf-8"
    except UnicodeDecodeError:
        return b64encode(content).decode(), "base64"


def _headers_text(headers: Headers) -> str | None:
    """Return the headers as JSON, `[[name, base64 or null], …]`; None if they are too long."""
    listed = [
        (name, None if content is None else b64encode(content).decode())
        for name, content in headers
    ]
    text = encode_row(listed)
    return text.decode() if len(text) <= MAX_KEPT_HEADERS_BYTES else None
