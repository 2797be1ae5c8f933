"""The answers of POST /track, prepared: the one table of what went wrong and its status.

In: a reason and a sentence. Out: ASGI messages. Never: a value from a client that goes into a
header as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from starlette.types import Message

from contracts.events import Reason
from ingest.cors import OPEN_TO_ALL
from runtime.access.guards import Refusal
from runtime.http.exchanges import Exchange, Header, head_of, lines_of

Answer = tuple[Message, Message]


class Problem(StrEnum):
    """What can go wrong with a request beside its event; the `code` of an HTTP error."""

    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    INVALID_ENCODING = "invalid_encoding"
    BODY_TOO_SLOW = "body_too_slow"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INTERNAL_ERROR = "internal_error"


STATUS: Mapping[str, int] = {
    **dict.fromkeys(Reason, 400),
    Reason.TOO_LARGE: 413,
    Problem.UNSUPPORTED_MEDIA_TYPE: 415,
    Problem.UNSUPPORTED_ENCODING: 415,
    Problem.INVALID_ENCODING: 400,
    Problem.BODY_TOO_SLOW: 408,
    Problem.OVERLOADED: 503,
    Problem.UNAVAILABLE: 503,
    Problem.NOT_FOUND: 404,
    Problem.METHOD_NOT_ALLOWED: 405,
    Problem.INTERNAL_ERROR: 500,
}

_CLOSE = (b"connection", b"close")

_EXTRA: Mapping[str, tuple[Header, ...]] = {
    Problem.UNAVAILABLE: ((b"retry-after", b"1"),),
    Problem.OVERLOADED: ((b"retry-after", b"1"),),
    Problem.UNSUPPORTED_ENCODING: ((b"accept-encoding", b"gzip, deflate, zstd"),),
    # What is still to come would be taken for the next request.
    Problem.BODY_TOO_SLOW: (_CLOSE,),
    Problem.INTERNAL_ERROR: (_CLOSE,),
}

_LOGGED = b'{"status":"success","message":"Event logged."}'
_LOGGED_HEADERS = (
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_LOGGED)),
    *OPEN_TO_ALL,
)
_LOGGED_HEAD = head_of(200, _LOGGED_HEADERS)
LOGGED_BODY: Message = {"type": "http.response.body", "body": _LOGGED}


def logged(event_id: bytes, more: tuple[Header, ...]) -> Message:
    """Return the start of the answer to an event that Kafka has; `LOGGED_BODY` is the rest."""
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": [*_LOGGED_HEADERS, (b"x-event-id", event_id), *more],
    }


def logged_head(event_id: bytes, more: tuple[Header, ...]) -> bytes:
    """Return the head of the same answer as bytes, without its end."""
    lines = lines_of(more) if more else b""
    return b"%bx-event-id: %b\r\n%b" % (_LOGGED_HEAD, event_id, lines)


def success(body: bytes, media: bytes, more: tuple[Header, ...]) -> Answer:
    """Return the two messages of an answer with this body of this type."""
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [
            (b"content-type", media),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *OPEN_TO_ALL,
            *more,
        ],
    }
    return start, {"type": "http.response.body", "body": body}


def error_body(code: str, message: str) -> bytes:
    """Return the JSON of an error."""
    return msgspec.json.encode({"status": "error", "code": code, "message": message})


def error(code: Reason | Problem, message: str) -> Answer:
    """Return the two messages of the answer that says what went wrong."""
    return _answer(STATUS[code], code, message, _EXTRA.get(code, ()))


def refused(refusal: Refusal) -> Answer:
    """Return the two messages of the answer to somebody who may not come in."""
    return _answer(refusal.status, refusal.code, refusal.message, refusal.answer_headers)


def _answer(status: int, code: str, message: str, more: tuple[Header, ...]) -> Answer:
    body = error_body(code, message)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *OPEN_TO_ALL,
        *more,
    ]
    start: Message = {
        "type": "http.response.start",
        "status": status,
        "headers": headers,
        "reason": code,  # for the metrics; the server passes over it
    }
    return start, {"type": "http.response.body", "body": body}


def give(answer: Answer, exchange: Exchange) -> None:
    """Answer a request that came as a whole."""
    start, end = answer
    headers = [each for each in start["headers"] if each != _CLOSE]
    keep_alive = len(headers) == len(start["headers"])
    exchange.answer(head_of(start["status"], headers), end["body"], keep_alive=keep_alive)


def closing(answer: Answer) -> Answer:
    """Return the same answer to a client that has not sent its body yet, and now must not."""
    start, end = answer
    return {**start, "headers": [*start["headers"], _CLOSE]}, end


UNAVAILABLE = error(Problem.UNAVAILABLE, "Failed to log event")
OVERLOADED = error(Problem.OVERLOADED, "Too much is under way here; send it again in a moment")
FAILED = error(Problem.INTERNAL_ERROR, "Something went wrong here")
