"""Whole answers to what never becomes a request: the bytes that go out before a connection ends.

In: nothing but a status and a sentence. Out: an HTTP/1.1 answer in the shape of all errors. Never:
anything that a client sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Headers = Sequence[tuple[bytes, bytes]]
# Gives the answer to a request that may not come over this connection, by its URL and headers.
Objection = Callable[[bytes, Headers], bytes | None]


def refusal(status: bytes, code: bytes, message: bytes, headers: bytes = b"") -> bytes:
    """Return a whole answer in the shape of all errors, after which the connection is closed."""
    body = b'{"status":"error","code":"%b","message":"%b"}' % (code, message)
    return (
        b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"access-control-allow-origin: *\r\nconnection: close\r\n%b\r\n%b"
        % (status, len(body), headers, body)
    )


NOT_HTTP = refusal(b"400 Bad Request", b"invalid_request", b"This is not an HTTP request")
BUSY = refusal(
    b"503 Service Unavailable",
    b"unavailable",
    b"There are too many connections",
    b"access-control-expose-headers: retry-after\r\nretry-after: 1\r\n",
)
OVERLOADED = refusal(
    b"503 Service Unavailable",
    b"overloaded",
    b"Too much is under way here; send it again in a moment",
    b"access-control-expose-headers: retry-after\r\nretry-after: 1\r\n",
)
HTTPS_REQUIRED = refusal(
    b"403 Forbidden",
    b"https_required",
    b"Use https: plain HTTP is taken from this machine alone",
)


def url_too_long(most: int) -> bytes:
    """Return the answer to a request line that is too long."""
    return refusal(b"414 URI Too Long", b"url_too_long", b"The URL has more than %d bytes" % most)


def head_too_large(most_bytes: int, most_headers: int) -> bytes:
    """Return the answer to a head that is too large."""
    return refusal(
        b"431 Request Header Fields Too Large",
        b"headers_too_large",
        b"The headers have more than %d bytes, or there are more than %d"
        % (most_bytes, most_headers),
    )
