"""What the headers of a request say about its body, before it is read.

In: the headers by name. Out: the answer to a request that is refused, or None. Never: the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from contracts.events import MAX_EVENT_BYTES, Reason
from ingest.answers import Answer, Problem, closing, error
from ingest.encodings import is_known

# What `fetch`, `navigator.sendBeacon` and `curl -d` say; the body is JSON all the same.
TYPES = frozenset(
    {"", "application/json", "text/plain", "application/x-www-form-urlencoded"},
)
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
# As nearly all clients send it; other values are taken apart.
_USUAL = frozenset(
    {
        b"",
        b"application/json",
        b"application/json; charset=utf-8",
        b"text/plain;charset=UTF-8",
        b"application/x-www-form-urlencoded",
    }
)

_UNSUPPORTED_TYPE = error(
    Problem.UNSUPPORTED_MEDIA_TYPE,
    "Content-Type must be application/json, text/plain, application/x-www-form-urlencoded or none",
)
_UNSUPPORTED_CHARSET = error(
    Problem.UNSUPPORTED_MEDIA_TYPE, "The charset of Content-Type must be utf-8"
)
UNSUPPORTED_ENCODING = error(
    Problem.UNSUPPORTED_ENCODING,
    "Content-Encoding must be one of gzip, deflate and zstd, once, or the body be sent as it is",
)
_TOO_LARGE = error(
    Reason.TOO_LARGE, f"Content-Length is over {MAX_EVENT_BYTES}, the most that an event may have"
)

# Every answer that is given to the headers alone.
REFUSALS = (_UNSUPPORTED_TYPE, _UNSUPPORTED_CHARSET, UNSUPPORTED_ENCODING, _TOO_LARGE)


def refusal_of(headers: Mapping[bytes, bytes]) -> Answer | None:
    """Return the answer to a request whose body is not worth reading, or None."""
    content_type = headers.get(b"content-type", b"")
    if content_type not in _USUAL and (refusal := _refusal_of_type(content_type)) is not None:
        return refusal
    encoding = headers.get(b"content-encoding")
    if encoding is not None and not is_known(encoding):
        return UNSUPPORTED_ENCODING
    length = headers.get(b"content-length")
    # uvicorn lets only digits through; few bodies have more than four of them.
    if length is not None and len(length) > 4 and int(length) > MAX_EVENT_BYTES:
        return _TOO_LARGE
    return None


def has_several_encodings(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a body was encoded more than once, as two lines of Content-Encoding say."""
    return sum(name == b"content-encoding" for name, _ in headers) > 1


def without_body(answer: Answer, headers: Mapping[bytes, bytes]) -> Answer:
    """Return an answer that goes out before the body is read.

    Who waits to be asked for the body may send it or not; what comes next on the connection could
    be either.
    """
    return closing(answer) if b"expect" in headers else answer


def _refusal_of_type(content_type: bytes) -> Answer | None:
    media, *parameters = content_type.decode("latin-1").lower().split(";")
    if media.strip() not in TYPES:
        return _UNSUPPORTED_TYPE
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _CHARSETS:
            return _UNSUPPORTED_CHARSET
    return None
