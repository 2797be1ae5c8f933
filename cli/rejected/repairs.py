"""What a rejected record becomes: an event that can be sent, or why it cannot. Pure.

In: a rejection, and what somebody says is to be changed. Out: the event as it is written to
`track.events`, or a sentence. Never: a rule of its own about what an event is (that is
`contracts.records`), a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from cli.rejected.rejection import Rejection
from contracts.admission import readdress
from contracts.events import Event, Reason, Rejected, Repaired, parse_event
from contracts.metadata import encode_json
from contracts.records import Headers, draft_of, parse_record
from contracts.replays import replayed_id

FIELDS = ("event", "user_id", "timestamp", "metadata", "event_id")


@dataclass(frozen=True, slots=True)
class Repair:
    """What is to be changed: another value, a body of POST /track; fields set or removed."""

    value: bytes | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()


def prepare(rejection: Rejection, repair: Repair, log_id: str) -> Repaired | str:
    """Return the event that is sent, or why none can be.

    What the time of receipt decides is decided by when the rejected record arrived, as for a record
    that is moved to its partition.
    """
    if rejection.reason is Reason.REFUSED_BY_STORAGE:
        return "it is a row of an event that was accepted; sent again, it would count twice"
    if repair.value is None and not rejection.whole:
        return "only a part of it was kept; give the whole value with --value"
    event = _repaired(rejection, repair)
    if isinstance(event, str):
        return event
    if isinstance(event, Rejected):
        return event.message
    ready = readdress(event, rejection.received_at)
    ready.event_id = ready.event_id or replayed_id(log_id, rejection.place)
    return ready


def draft(rejection: Rejection) -> str:
    """Return the text that somebody edits: a body of POST /track as far as it can be read."""
    fields = draft_of(rejection.value, rejection.headers)
    if fields is not None:
        present = {name: value for name, value in fields.items() if value is not None}
        return f"{msgspec.json.format(encode_json(present), indent=2).decode()}\n"
    return (rejection.value or b"").decode("utf-8", "backslashreplace")


def _repaired(rejection: Rejection, repair: Repair) -> Event | Rejected | str:
    value, headers = _source(rejection, repair)
    if not repair.changes and not repair.removed:
        return parse_record(value, headers)
    fields = draft_of(value, headers)
    if fields is None:
        return "its fields cannot be read; repair it with --value or --edit"
    kept = {name: each for name, each in fields.items() if name not in repair.removed}
    return parse_event(encode_json(kept | dict(repair.changes)))


def _source(rejection: Rejection, repair: Repair) -> tuple[bytes | None, Headers]:
    if repair.value is not None:
        return repair.value, ()
    return rejection.value, rejection.headers
