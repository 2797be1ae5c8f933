"""PostHog's capture API, as its SDKs for servers and its page script speak it.

In: the body of a request, which the page script may send as base64 in a form.
Out: events of POST /track. Never: a look at feature flags, recordings and surveys; a key among the
metadata.

Where the field names come from: PostHog's public documentation of its capture API; what the SDKs
send was seen on the wire.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import parse_qs, parse_qsl

import msgspec
from msgspec import Raw

from contracts.events import NULL, Reason, Rejected
from contracts.metadata import JSONError, encode_json, parse_json
from contracts.timestamps import format_timestamp
from ingest.dialects.clocks import correct_clock
from ingest.dialects.dialect import Refused, Said, Sent, encode_refused
from ingest.dialects.splitting import ABSENT, is_array, key_of, read, split_array, with_more

PATHS = (
    "/batch", "/batch/", "/capture", "/capture/", "/e", "/e/", "/i/v0/e", "/i/v0/e/",
)  # fmt: skip
_FORM = b"data="
_MOST_FIELDS = 100
_MOST_DIGITS = 15  # of milliseconds


class _Event(msgspec.Struct, gc=False):
    """One event; every field is a JSON text, right or wrong, for the admission to judge."""

    event: Raw = ABSENT
    distinct_id: Raw = ABSENT
    properties: Raw = ABSENT
    timestamp: Raw = ABSENT
    uuid: Raw = ABSENT
    offset: Raw = ABSENT
    set: Raw = msgspec.field(default=ABSENT, name="$set")
    set_once: Raw = msgspec.field(default=ABSENT, name="$set_once")


class _Properties(msgspec.Struct, gc=False):
    """What the page script puts among the properties."""

    distinct_id: Raw = ABSENT
    token: Raw = ABSENT


class _Envelope(msgspec.Struct, gc=False):
    """A batch; without one the object is an event itself."""

    batch: list[Raw] | None = None
    sent_at: Raw = ABSENT
    api_key: Raw = ABSENT
    token: Raw = ABSENT


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_properties = msgspec.json.Decoder(_Properties).decode
_envelopes = msgspec.json.Decoder(_Envelope)


def translate_capture(sent: Sent) -> Said | Rejected:
    """Return the event, or the events of an array or a batch."""
    body = _unpack(sent.body)
    if isinstance(body, Rejected):
        return body
    if is_array(body):
        items = split_array(body)
        if isinstance(items, Rejected):
            return items
        return _say(items, sent, ABSENT, None)
    envelope = read(_envelopes, body, "an array or an object")
    if isinstance(envelope, Rejected):
        return envelope
    key = key_of(envelope.api_key, envelope.token)
    if envelope.batch is not None:
        return _say(envelope.batch, sent, envelope.sent_at, key)
    said = _say([Raw(body)], sent, envelope.sent_at, key)
    said.is_single = True
    return said


def confirm_capture(_: int, refused: Sequence[Refused]) -> bytes:
    """Say what the SDKs expect, and what was wrong with those that were none."""
    if not refused:
        return b'{"status":1}'
    return b'{"status":1,"rejected":%b}' % encode_refused(refused)


def _say(items: Sequence[Raw], sent: Sent, sent_at: Raw, key: bytes | None) -> Said:
    if key is None and items:
        key = _key_among_properties(items[0])
    values = [_translate(bytes(each), sent.received_ms, key) for each in items]
    when = sent_at if sent_at != ABSENT else _time_in_url(sent.query)
    return Said(correct_clock(values, when, sent.received_ms), key=key)


def _unpack(body: bytes) -> bytes | Rejected:
    """Return the JSON text in a body that may have it as base64 in a form's field."""
    if body[:5] != _FORM:
        return body
    encoded = parse_qs(body.decode("latin-1"), max_num_fields=10).get("data", [""])[0]
    try:
        return base64.b64decode(encoded.replace(" ", "+"), validate=True)
    except (binascii.Error, ValueError):
        return Rejected(Reason.INVALID_JSON, "The field data of the body must be base64")


def _translate(item: bytes, received_ms: int, key: bytes | None) -> bytes:
    """Return the value of an item; one that is no object stays as it is, and will be refused."""
    try:
        event = _decode_event(item)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return item
    named = _properties_of(event.properties)
    user_id = event.distinct_id if event.distinct_id != ABSENT else named.distinct_id
    fields = [b'{"event":%b,"user_id":%b' % (bytes(event.event), bytes(user_id))]
    timestamp = bytes(event.timestamp)
    if timestamp == NULL:
        timestamp = _time_before(received_ms, event.offset)
    if timestamp != NULL:
        fields.append(b',"timestamp":%b' % timestamp)
    properties = bytes(event.properties)
    if key is not None and key_of(named.token) == key:
        properties = _without_token(properties)
    metadata = with_more(properties, _sets_of(event))
    if metadata != NULL:
        fields.append(b',"metadata":%b' % metadata)
    if event.uuid != ABSENT:
        fields.append(b',"event_id":%b' % bytes(event.uuid))
    return b"%b}" % b"".join(fields)


def _sets_of(event: _Event) -> bytes:
    """Return what a call says of its user beside the properties, each with a comma behind it."""
    named = ((b"$set", event.set), (b"$set_once", event.set_once))
    return b"".join(b'"%b":%b,' % (name, bytes(raw)) for name, raw in named if raw != ABSENT)


def _without_token(properties: bytes) -> bytes:
    """Return the properties without the key: whoever may read events must not learn it."""
    try:
        fields = parse_json(properties)
    except JSONError:
        return properties
    if not isinstance(fields, dict):
        return properties
    return encode_json({name: value for name, value in fields.items() if name != "token"})


def _properties_of(properties: Raw) -> _Properties:
    try:
        return _decode_properties(properties)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Properties()


def _key_among_properties(item: Raw) -> bytes | None:
    try:
        properties = _decode_event(item).properties
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return key_of(_properties_of(properties).token)


def _time_before(received_ms: int, offset: Raw) -> bytes:
    """Return when it was, where the page script says how many milliseconds ago; null otherwise."""
    ago = bytes(offset)
    if not ago.isdigit() or len(ago) > _MOST_DIGITS or int(ago) > received_ms:
        return NULL
    return b'"%b"' % format_timestamp(received_ms - int(ago)).encode()


def _time_in_url(query: bytes) -> int | None:
    """Return the milliseconds that the page script gives as the time of sending, `_` in the URL."""
    for name, value in parse_qsl(query.decode("latin-1"), max_num_fields=_MOST_FIELDS):
        if name == "_" and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
            return int(value)
    return None
