"""CloudEvents 1.0 over HTTP: one in the body, a batch of them, or one in the headers.

In: a request. Out: records as a producer of CloudEvents would write them to Kafka: structured ones
with their content type, binary ones with `ce_` headers. Never: a judgement on their attributes.

Where the rules come from: the CloudEvents specification's HTTP and Kafka protocol bindings, 1.0.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from contracts.events import Reason, Rejected
from ingest.dialects.dialect import RecordHeaders, Said, Sent
from ingest.dialects.splitting import split_array
from ingest.requests import media_type_of

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_CONTENT_TYPE = "content-type"
_PREFIX, _RECORD_PREFIX = b"ce-", "ce_"
_IS_STRUCTURED: RecordHeaders = [(_CONTENT_TYPE, STRUCTURED.encode())]
NEITHER = Rejected(
    Reason.INVALID_CLOUDEVENT,
    f"Content-Type must be {STRUCTURED} or {BATCH}, or the headers must have ce-specversion",
)


def translate_cloudevents(sent: Sent) -> Said | Rejected:
    """Return the CloudEvents of a request, by the mode that its headers name."""
    media, _ = media_type_of(sent.headers.get(b"content-type", b""))
    if media == BATCH:
        items = split_array(sent.body)
        if isinstance(items, Rejected):
            return items
        return Said([bytes(each) for each in items], _IS_STRUCTURED)
    if media == STRUCTURED:
        return Said((sent.body,), _IS_STRUCTURED, is_single=True)
    if b"ce-specversion" in sent.headers:
        return Said((sent.body,), _headers_of(sent), is_single=True)
    return NEITHER


def _headers_of(sent: Sent) -> RecordHeaders:
    """Return the headers of a binary record; in HTTP their values are percent-encoded."""
    headers = [
        (_RECORD_PREFIX + name[len(_PREFIX) :].decode("latin-1"), unquote_to_bytes(value))
        for name, value in sent.headers.items()
        if name.startswith(_PREFIX)
    ]
    content_type = sent.headers.get(b"content-type")
    return headers if content_type is None else [*headers, (_CONTENT_TYPE, content_type)]
