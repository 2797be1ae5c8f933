"""Every failure has its status, and every error its shape."""

from __future__ import annotations

import json

from contracts.events import Reason
from ingest.answers import STATUS, UNAVAILABLE, Problem, error


def test_every_failure_has_a_status() -> None:
    assert set(STATUS) == {*Reason, *Problem}


def test_an_error_says_code_and_message_and_what_it_needs() -> None:
    start, end = error(Reason.INVALID_EVENT, 'event must not be "date"')
    assert start["status"] == 400
    assert json.loads(end["body"]) == {
        "status": "error",
        "code": "invalid_event",
        "message": 'event must not be "date"',
    }
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(end["body"])


def test_who_is_refused_for_a_while_is_told_when_to_come_back() -> None:
    start, _ = UNAVAILABLE
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"1"
