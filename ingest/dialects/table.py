"""Every route that takes events beside POST /track: one entry each.

In: nothing. Out: for a path and a method, the bodies that are taken, the translation, the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.events import MAX_EVENT_BYTES
from ingest.dialects import posthog, segment
from ingest.dialects.batches import LINES, confirm_batch, translate_batch
from ingest.dialects.cloudevents import translate_cloudevents
from ingest.dialects.dialect import Confirm, Translate
from ingest.dialects.pixel import confirm_pixel, translate_pixel
from ingest.requests import BATCH_WITHIN_S, TYPES, Bodies

MAX_BATCH_BYTES = 10 * 1024 * 1024
MAX_BATCH_EVENTS = 10_000

_BATCHES = Bodies(MAX_BATCH_BYTES, TYPES | LINES, BATCH_WITHIN_S)
_OF_CLIENTS = Bodies(MAX_BATCH_BYTES, TYPES, BATCH_WITHIN_S)
_OF_POSTHOG = Bodies(MAX_BATCH_BYTES, TYPES, BATCH_WITHIN_S, may_be_gzip=True)
_CLOUDEVENTS = Bodies(MAX_BATCH_BYTES, None, BATCH_WITHIN_S)
_NONE = Bodies(MAX_EVENT_BYTES, None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A route.

    Attributes:
        dialect: whose way of speaking it is, for people.
        shows_key_in_body: whether a key may stand in the body.
        media: the type of the answer.
    """

    path: str
    dialect: str
    bodies: Bodies
    translate: Translate
    confirm: Confirm
    method: str = "POST"
    media: bytes = b"application/json"
    shows_key_in_body: bool = False


def _entries() -> Iterator[Entry]:
    yield Entry("/track/batch", "track", _BATCHES, translate_batch, confirm_batch)
    yield Entry(
        "/pixel.gif",
        "track",
        _NONE,
        translate_pixel,
        confirm_pixel,
        method="GET",
        media=b"image/gif",
    )
    yield Entry("/cloudevents", "cloudevents", _CLOUDEVENTS, translate_cloudevents, confirm_batch)
    for path in segment.TYPES:
        yield _of_segment(path, segment.translate_message)
    for path in segment.BATCHES:
        yield _of_segment(path, segment.translate_messages)
    for path in posthog.PATHS:
        yield Entry(
            path,
            "posthog",
            _OF_POSTHOG,
            posthog.translate_capture,
            posthog.confirm_capture,
            shows_key_in_body=True,
        )


def _of_segment(path: str, translate: Translate) -> Entry:
    return Entry(
        path,
        "segment",
        _OF_CLIENTS,
        translate,
        segment.confirm_messages,
        shows_key_in_body=True,
    )


ENTRIES = tuple(_entries())
