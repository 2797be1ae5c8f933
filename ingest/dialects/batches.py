"""Batches of our own: a JSON array, an object with a `batch`, or lines of JSON.

In: a body. Out: its items as they came, each a body of POST /track.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.events import Reason, Rejected
from ingest.dialects.clocks import correct_clock
from ingest.dialects.dialect import Refused, Said, Sent, encode_refused
from ingest.dialects.splitting import is_array, split_array, split_envelope

LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


def translate_batch(sent: Sent) -> Said | Rejected:
    """Return the events of a JSON array, or of the `batch` of an object."""
    if is_array(sent.body):
        items = split_array(sent.body)
        return items if isinstance(items, Rejected) else Said([bytes(each) for each in items])
    envelope = split_envelope(sent.body)
    if isinstance(envelope, Rejected):
        return envelope
    if envelope.batch is None:
        return Rejected(Reason.INVALID_JSON, "The body must be an array, or an object with a batch")
    values = [bytes(each) for each in envelope.batch]
    return Said(correct_clock(values, envelope.sentAt, sent.received_ms))


def confirm_batch(accepted: int, refused: Sequence[Refused]) -> bytes:
    """Say how many events were taken, and what was wrong with the rest."""
    told = encode_refused(refused) if refused else b"[]"
    return b'{"status":"success","accepted":%d,"rejected":%b}' % (accepted, told)
