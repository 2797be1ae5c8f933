"""What is published for an event: the bytes that came in, wherever they can be passed on.

In: a body and the event in it. Out: the value of its record. Never: bytes of a body that had to be
mended.
"""

from __future__ import annotations

import msgspec

from contracts.events import Event, encode_event

_encode_text = msgspec.json.Encoder().encode


def value_of(body: bytes, event: Event) -> bytes:
    """Return the value of an event as it is."""
    return body if type(event) is Event else encode_event(event)


def value_with_id(body: bytes, event: Event, event_id: str) -> bytes:
    """Return the value of an event with an id: the body with a field more, where that is clear.

    Otherwise it is encoded anew: where the body was mended, or where it names the field already (a
    name that stands twice is read in two ways).
    """
    if type(event) is Event and b"event_id" not in body:
        end = body.rindex(b"}")
        return b'%b,"event_id":%b}' % (body[:end], _encode_text(event_id))
    event.event_id = event_id
    return encode_event(event)
