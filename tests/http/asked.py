"""Requests to each route that takes events, and the status that each must get.

In: a route of the table. Out: requests that are taken, and one for each error that is promised.
Never: an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from contracts.events import Reason
from ingest.dialects.described import describe
from ingest.dialects.table import MAX_BATCH_EVENTS, Entry
from tests.bodies import nested
from tests.ingest.dialects.shapes import SHAPES

_GOOD: Mapping[str, Any] = {"event": "play", "user_id": "u"}
_BAD: Mapping[Reason, Mapping[str, Any]] = {
    Reason.INVALID_EVENT: {"event": "date"},
    Reason.INVALID_USER_ID: {"user_id": "x" * 300},
    Reason.INVALID_TIMESTAMP: {"timestamp": "yesterday"},
    Reason.INVALID_METADATA: {"metadata": json.loads(nested(70))},
    Reason.INVALID_EVENT_ID: {"event_id": "~x"},
}
_CLOUDEVENT = "application/cloudevents+json"


class Asked(NamedTuple):
    """A request and the status of its answer."""

    content: bytes
    headers: Mapping[str, str]
    query: str
    status: int


def taken(entry: Entry) -> Asked:
    """Return a request with one event that is taken."""
    return _asked(entry, _GOOD, 200)


def everything(entry: Entry) -> Iterator[Asked]:
    """Give one that is taken, and one for each error."""
    yield taken(entry)
    good = taken(entry)
    yield good._replace(headers={**good.headers, "content-encoding": "lzma"}, status=415)
    yield good._replace(
        content=b"x", headers={**good.headers, "content-encoding": "gzip"}, status=400
    )
    yield good._replace(headers={**good.headers, "idempotency-key": '"open'}, status=400)
    large = b" " * (entry.bodies.most_bytes + 1)
    yield good._replace(content=large, status=413)
    if entry.bodies.types is not None:
        yield good._replace(headers={"content-type": "application/xml"}, status=415)
    if entry.method == "GET":
        yield good._replace(query="a=1&" * 300, status=400)
    else:
        yield good._replace(content=b"{", status=400)
    if entry.dialect == "cloudevents":
        yield good._replace(headers={}, status=400)
    described = describe(entry)
    if described.is_about_one:
        never = {*described.never}
        if entry.dialect == "cloudevents":
            never.add(Reason.INVALID_EVENT_ID)  # but for that of a header, see above
        for reason, bad in _BAD.items():
            yield _asked(entry, {**_GOOD, **bad}, 200 if reason in never else 400)
    else:
        many = [SHAPES[entry.dialect](_GOOD)] * (MAX_BATCH_EVENTS + 1)
        yield good._replace(content=json.dumps({"batch": many}).encode(), status=413)


def _asked(entry: Entry, fields: Mapping[str, Any], status: int) -> Asked:
    if entry.method == "GET":
        query = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in fields.items()
        }
        return Asked(b"", {}, urlencode(query), status)
    shaped = SHAPES[entry.dialect](fields)
    if "metadata" in fields:  # where other calls of Segment have theirs
        shaped |= dict.fromkeys(("traits", "previousId"), fields["metadata"])
    body = shaped if describe(entry).is_about_one else {"batch": [shaped]}
    headers = {"content-type": _CLOUDEVENT} if entry.dialect == "cloudevents" else {}
    return Asked(json.dumps(body).encode(), headers, "", status)
