"""What must hold for any bytes that come to a route of the table.

In: a sample: a body and headers. Out: nothing, or an exception. Never: a server.
"""

from __future__ import annotations

import json
from collections import Counter

from contracts.events import Event, Rejected
from contracts.records import parse_record
from ingest.answers import STATUS
from ingest.batch import Batch
from ingest.dialects.table import ENTRIES, MAX_BATCH_BYTES
from ingest.reading import Reader
from tests.fuzz.requests import OPEN_GUARD, InMemory, read_request, send

ASKED = ("/track/batch", "/v1/batch", "/v1/page", "/batch", "/cloudevents", "/pixel.gif")
_ENTRIES = {each.path: each for each in ENTRIES}


def check_batches(sample: bytes) -> None:
    """What is taken is an event, what is reported is kept and will be rejected for that reason."""
    request = read_request(sample)
    if request is None:
        return
    body, headers = request
    for path in ASKED:
        publisher = InMemory()
        endpoint = Batch(_ENTRIES[path], publisher, OPEN_GUARD, Reader(MAX_BATCH_BYTES))
        query = body if path == "/pixel.gif" else b""
        status, answer = send(endpoint, b"" if query else body, headers, query)
        _check_published(publisher)
        if path == "/pixel.gif" and status == 200:
            continue
        told = json.loads(answer)
        assert status == (STATUS[told["code"]] if "code" in told else 200)
        if status == 200:
            reported = Counter(each["code"] for each in told.get("rejected", ()))
            assert sum(reported.values()) == len(publisher.kept)
            assert told.get("accepted", len(publisher.events)) == len(publisher.events)
            assert reported == _reasons_of(publisher)


def _check_published(publisher: InMemory) -> None:
    for user_id, value, headers in publisher.events:
        event = parse_record(value, headers)
        assert isinstance(event, Event), event
        assert event.user_id == user_id


def _reasons_of(publisher: InMemory) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for value, headers in publisher.kept:
        rejected = parse_record(value, headers)
        assert isinstance(rejected, Rejected), "what was reported is taken all the same"
        reasons[rejected.reason] += 1
    return reasons
