"""Clocks of clients that are wrong: timestamps put right by when the client says it has sent them.

In: values of records, when they were sent by the client's clock, when they were received by ours.
Out: the same values, or with their timestamps moved. Never: a change where the two agree within
five minutes, which is more than a request takes and less than matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw

from contracts.admission import ORIGINAL_TIMESTAMP, WARNING
from contracts.events import Event, encode_event, parse_event
from contracts.metadata import encode_json, parse_json
from contracts.timestamps import format_timestamp, parse_timestamp
from ingest.dialects.splitting import text_of

MOST_WRONG_MS = 5 * 60 * 1000
CORRECTED = "Client clock was wrong; timestamp was corrected"


def correct_clock(
    values: Sequence[bytes], sent_at: Raw | int | None, received_ms: int
) -> Sequence[bytes]:
    """Return the values with their timestamps moved by as much as the client's clock is wrong.

    `sent_at` is a JSON text or milliseconds since 1970; whatever is no time is passed over.
    """
    sent_ms = _milliseconds_of(sent_at)
    if sent_ms is None or abs(received_ms - sent_ms) <= MOST_WRONG_MS:
        return values
    wrong_ms = received_ms - sent_ms
    return [_correct(value, wrong_ms, received_ms) for value in values]


def _milliseconds_of(sent_at: Raw | int | None) -> int | None:
    if sent_at is None or isinstance(sent_at, int):
        return sent_at
    text = text_of(sent_at)
    return None if text is None else parse_timestamp(text)


def _correct(value: bytes, wrong_ms: int, received_ms: int) -> bytes:
    """Return the value with its timestamp moved; the one that was sent is kept in the metadata."""
    event = parse_event(value)
    if not isinstance(event, Event) or event.timestamp is None:
        return value
    told = parse_timestamp(event.timestamp)
    if told is None:
        return value
    sent = parse_json(bytes(event.metadata))
    beside = sent if isinstance(sent, dict) else {}
    kept = {WARNING: CORRECTED, ORIGINAL_TIMESTAMP: event.timestamp}
    event.timestamp = format_timestamp(min(max(told + wrong_ms, 0), received_ms))
    event.metadata = Raw(encode_json({**kept, **beside, **kept}))
    return encode_event(event)
