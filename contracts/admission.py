"""Admission: what an event becomes, decided by the broker's time of receipt alone.

In: an event and when the broker received it. Out: its timestamp and its metadata as they are kept.
Never: a clock; a change to what was admitted before (admitting twice is admitting once).
"""

from __future__ import annotations

from msgspec import Raw

from contracts.events import NULL, Event, Repaired
from contracts.metadata import (
    MAX_METADATA_BYTES,
    Value,
    encode_json,
    fitting,
    is_plain,
    parse_json,
    storable,
)
from contracts.timestamps import format_timestamp, parse_timestamp

FAST_CLOCK_MS = 1000  # a clock that is a little fast is no news
FUTURE = "Timestamp was in the future; server time was used"
WARNING, ORIGINAL_TIMESTAMP = "warning", "originalTimestamp"
TRUNCATED = "Metadata truncated due to size limit"
_NOTHING = b"{}"


def admit(event: Event, received_at: int) -> tuple[int, bytes]:
    """Return the timestamp (ms since 1970, not after `received_at`) and the metadata's JSON."""
    text, metadata = event.timestamp, bytes(event.metadata)
    timestamp = received_at if text is None else parse_timestamp(text)
    if timestamp is None:
        raise ValueError(f"admission was given a timestamp that is not valid: {text!r}")
    if timestamp - received_at > FAST_CLOCK_MS:
        return received_at, _mend_metadata(metadata, text)
    if metadata == NULL:
        metadata = _NOTHING
    elif not is_plain(metadata):
        metadata = _mend_metadata(metadata, None)
    return (timestamp if timestamp < received_at else received_at), metadata


def readdress(event: Event, received_at: int) -> Repaired:
    """Return the event as it is sent on to its user's partition.

    Its timestamp is decided by the moment it first arrived; it is admitted, so the second admission
    changes nothing.
    """
    timestamp, metadata = admit(event, received_at)
    return Repaired(
        event.event,
        event.user_id,
        format_timestamp(timestamp),
        Raw(metadata),
        event.event_id,
    )


def _mend_metadata(metadata: bytes, future: str | None) -> bytes:
    """Return compact metadata within the limit; `future` is the timestamp to warn of."""
    sent = {} if metadata == NULL else parse_json(metadata)
    if not isinstance(sent, dict):
        raise ValueError("admission was given metadata that is not an object")
    warning: dict[str, Value] = {}
    if future is not None:
        warning = {WARNING: FUTURE, ORIGINAL_TIMESTAMP: future}
    whole = encode_json(_beside(sent, warning) | warning)
    if len(whole) <= MAX_METADATA_BYTES:
        return whole
    warning[WARNING] = f"{FUTURE}; {TRUNCATED}" if warning else TRUNCATED
    warning["originalSize"] = len(encode_json(sent))
    left = MAX_METADATA_BYTES - len(encode_json(warning)) + 1
    return encode_json(fitting(_beside(sent, warning).items(), left) | warning)


def _beside(sent: dict[str, Value], warning: dict[str, Value]) -> dict[str, Value]:
    return {key: storable(value) for key, value in sent.items() if key not in warning}
