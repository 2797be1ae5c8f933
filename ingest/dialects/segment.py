"""Segment's tracking API, as its SDKs and those of RudderStack and Jitsu speak it.

In: the body of a request, for servers or for browsers. Out: events of POST /track. Never: a look at
`integrations` and, but for the traits that RudderStack's SDKs put there, at `context`: they say how
the client works, not what happened.

Where the field names come from: Segment's public specification of its calls; what the SDKs send was
seen on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from contracts.events import NULL, Rejected
from ingest.dialects.clocks import correct_clock
from ingest.dialects.dialect import Refused, Said, Sent, encode_refused
from ingest.dialects.splitting import ABSENT, key_of, read, split_envelope, with_more

# What a path of one message says of it, for servers and, shorter, for browsers.
TYPES: Mapping[str, bytes] = {
    "/v1/track": b"track", "/v1/t": b"track",
    "/v1/identify": b"identify", "/v1/i": b"identify",
    "/v1/page": b"page", "/v1/p": b"page",
    "/v1/screen": b"screen", "/v1/s": b"screen",
    "/v1/group": b"group", "/v1/g": b"group",
    "/v1/alias": b"alias", "/v1/a": b"alias",
}  # fmt: skip
BATCHES = ("/v1/batch", "/v1/import", "/v1/b")
# Segment's own names for what a player does: those that open a session here, and those that close
# it.
OPENING = ("Video Playback Started", "Video Playback Resumed")
CLOSING = ("Video Playback Paused", "Video Playback Interrupted", "Video Playback Completed")
_TRACK = b'"track"'
_EMPTY = (NULL, b'""')


class _Message(msgspec.Struct, gc=False):
    """One call; every field is a JSON text, right or wrong, for the admission to judge."""

    type: Raw = ABSENT
    event: Raw = ABSENT
    userId: Raw = ABSENT  # noqa: N815  # a field's name is its key
    anonymousId: Raw = ABSENT  # noqa: N815
    timestamp: Raw = ABSENT
    originalTimestamp: Raw = ABSENT  # noqa: N815
    messageId: Raw = ABSENT  # noqa: N815
    properties: Raw = ABSENT
    traits: Raw = ABSENT
    name: Raw = ABSENT
    category: Raw = ABSENT
    groupId: Raw = ABSENT  # noqa: N815
    previousId: Raw = ABSENT  # noqa: N815
    sentAt: Raw = ABSENT  # noqa: N815
    writeKey: Raw = ABSENT  # noqa: N815
    context: Raw = ABSENT


class _Context(msgspec.Struct, gc=False):
    """What is looked for in the context."""

    traits: Raw = ABSENT


_decoder = msgspec.json.Decoder(_Message)
_decode_context = msgspec.json.Decoder(_Context).decode
_encode = msgspec.json.Encoder().encode


def video_names(opens: str, closes: str) -> Mapping[bytes, bytes]:
    """Return what Segment's names of a player's events become, as JSON texts."""
    named = {**dict.fromkeys(OPENING, opens), **dict.fromkeys(CLOSING, closes)}
    return {_encode(theirs): _encode(ours) for theirs, ours in named.items()}


def translate_message(sent: Sent) -> Said | Rejected:
    """Return the event of one call, of the type that the path says."""
    message = read(_decoder, sent.body, "an object")
    if isinstance(message, Rejected):
        return message
    value = _translate(message, b'"%b"' % TYPES[sent.path], sent.renamed)
    values = correct_clock((value,), message.sentAt, sent.received_ms)
    return Said(values, key=key_of(message.writeKey), is_single=True)


def translate_messages(sent: Sent) -> Said | Rejected:
    """Return the events of a batch."""
    envelope = split_envelope(sent.body)
    if isinstance(envelope, Rejected):
        return envelope
    values = [_translate_item(bytes(each), sent.renamed) for each in envelope.batch or ()]
    return Said(
        correct_clock(values, envelope.sentAt, sent.received_ms), key=key_of(envelope.writeKey)
    )


def confirm_messages(_: int, refused: Sequence[Refused]) -> bytes:
    """Say what the SDKs expect, and what was wrong with those that were none."""
    if not refused:
        return b'{"success":true}'
    return b'{"success":true,"rejected":%b}' % encode_refused(refused)


def _translate_item(item: bytes, renamed: Mapping[bytes, bytes]) -> bytes:
    """Return the value of an item; one that is no object stays as it is, and will be refused."""
    try:
        message = _decoder.decode(item)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return item
    return _translate(message, bytes(message.type), renamed)


def _translate(message: _Message, kind: bytes, renamed: Mapping[bytes, bytes]) -> bytes:
    """Return the event: of a `track` the one that it names, of another call the call itself.

    The metadata of one that is renamed says what it was called.
    """
    user_id = bytes(message.userId)
    if user_id in _EMPTY:
        user_id = bytes(message.anonymousId)
    told = bytes(message.event) if kind in (_TRACK, NULL) else kind
    name = renamed.get(told, told)
    fields = [b'{"event":%b,"user_id":%b' % (name, user_id)]
    timestamp = message.timestamp if message.timestamp != ABSENT else message.originalTimestamp
    if timestamp != ABSENT:
        fields.append(b',"timestamp":%b' % bytes(timestamp))
    metadata = _metadata_of(message, kind)
    if name is not told:
        metadata = with_more(metadata, b'"originalEvent":%b,' % told)
    if metadata != NULL:
        fields.append(b',"metadata":%b' % metadata)
    if message.messageId != ABSENT:
        fields.append(b',"event_id":%b' % bytes(message.messageId))
    return b"%b}" % b"".join(fields)


def _metadata_of(message: _Message, kind: bytes) -> bytes:
    match kind:
        case b'"track"':
            return bytes(message.properties)
        case b'"page"' | b'"screen"':
            more = _named(name=message.name, category=message.category)
            return with_more(bytes(message.properties), more)
        case b'"group"':
            return with_more(bytes(message.traits), _named(groupId=message.groupId))
        case b'"alias"':
            return with_more(NULL, _named(previousId=message.previousId))
        case _:
            given = message.traits if message.traits != ABSENT else message.properties
            return bytes(given if given != ABSENT else _traits_in(message.context))


def _traits_in(context: Raw) -> Raw:
    try:
        return _decode_context(context).traits
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ABSENT


def _named(**fields: Raw) -> bytes:
    """Return those that are there, each with a comma behind it."""
    return b"".join(
        b'"%b":%b,' % (name.encode(), bytes(field))
        for name, field in fields.items()
        if field != ABSENT
    )
