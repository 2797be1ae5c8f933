"""Requests as bytes: well-formed ones in every dress, what is not HTTP, and mutations of both.

In: a random number generator. Out: bytes, and the answers that must come back. Never: a library
between these bytes and the service.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

NASTY = (
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b"\t", b":", b"/", b"%", b"#", b"?", b"-1",
    b"0x10", b"99999999999999999999", b"18446744073709551616",
    b"Content-Length: 1\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"1;ext=\"\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"Upgrade: websocket\r\n", b"HTTP/1.0", b"HTTP/9.9",
    b"POST", b"CONNECT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xe2\x80\xae",
    b"Idempotency-Key: \"a\r\n", b"http://[::1", b"//", b"..%2f",
    b"GET /metrics?start_date=%00&end_date=\xed\xa0\x80 HTTP/1.1\r\n\r\n",
)  # fmt: skip
NOT_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nno header\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nA: \0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n Folded: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nName : x\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /track HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /track HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /track HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /track HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /track HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /track HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
    b"POST /track HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
)
_UPGRADES = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQB\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    b"Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.0\r\n",
)


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes of a request, and the status and the event's id that must come back."""

    wire: bytes
    status: int
    event_id: str | None = None
    has_body: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def good_request(rng: random.Random, event_id: str) -> Request:
    """Return a request that must be answered, in one of many dresses."""
    kind = rng.randrange(8)
    if kind >= 3:
        return _track(rng, event_id)
    if kind == 0:
        target = rng.choice((b"/livez", b"/readyz", b"http://elsewhere/livez", b"/livez?x=%zz"))
        return Request(_head(rng, b"GET", target) + b"\r\n", 200)
    if kind == 1:
        return Request(_head(rng, b"HEAD", b"/livez") + b"\r\n", 200, has_body=False)
    path, status = rng.choice(
        ((b"/nowhere", 404), (b"/%zz%ff", 404), (b"/track", 405), (b"/metrics", 400))
    )
    return Request(_head(rng, b"GET", path) + b"\r\n", status)


def mutated(rng: random.Random, wire: bytes) -> bytes:
    """Return the bytes with a few of them changed, doubled, dropped, or nasty ones put in."""
    changed = bytearray(wire)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.choice((1, 1, 4, 40)))
        match rng.randrange(5):
            case 0:
                changed[at:at] = rng.choice(NASTY)
            case 1:
                changed[at:end] = rng.choice(NASTY)
            case 2:
                del changed[at:end]
            case 3:
                changed[at:at] = changed[at:end]
            case _:
                changed[at:end] = rng.randbytes(end - at)
    return bytes(changed)


def in_pieces(rng: random.Random, wire: bytes) -> list[bytes]:
    """Cut the bytes into what is written one after the other."""
    cuts = sorted(rng.randrange(len(wire)) for _ in range(rng.choice((0, 0, 1, 3)))) if wire else []
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


def answers_in(received: bytes, bodiless: Sequence[int] = ()) -> list[Answer]:
    """Return the answers that these bytes are; `bodiless` are the places of answers to HEAD.

    Without them an answer's body is taken for missing where the next answer begins at once.
    """
    answers: list[Answer] = []
    rest = received
    while rest:
        head, end, rest = rest.partition(b"\r\n\r\n")
        assert end, f"an answer breaks off: {head[:200]!r}"
        status, *lines = head.split(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 [1-5][0-9][0-9] [A-Za-z -]+", status), status
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        assert len(headers) == len(lines), f"a header stands twice: {head!r}"
        length = int(headers.get(b"content-length", b"0"))
        if len(answers) in bodiless or rest.startswith(b"HTTP/1.1 "):
            length = 0
        assert len(rest) >= length, f"a body breaks off: {rest[:200]!r}"
        number = int(status.split()[1])
        if number != 100:
            answers.append(Answer(number, headers, rest[:length]))
        rest = rest[length:]
    return answers


def _track(rng: random.Random, event_id: str) -> Request:
    body = b'{"event":"play","user_id":"wire","event_id":"%b"}' % event_id.encode()
    head = _head(rng, b"POST", rng.choice((b"/track", b"/track?x=1", b"/%74rack")))
    if rng.random() < 0.3:
        head += rng.choice(
            (b"Content-Type: text/plain\r\n", b"content-type:application/json  \r\n")
        )
    if rng.random() < 0.2:
        head += b"Expect: 100-continue\r\n"
    if rng.random() < 0.5:
        return Request(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), 200, event_id)
    chunks = []
    while body:
        size = rng.randrange(1, len(body) + 1)
        extension = rng.choice((b"", b";name=value"))
        chunks.append(b"%x%b\r\n%b\r\n" % (size, extension, body[:size]))
        body = body[size:]
    trailer = rng.choice((b"", b"X-Trailer: x\r\n"))
    wire = (
        head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(chunks)
        + b"0\r\n"
        + trailer
        + b"\r\n"
    )
    return Request(wire, 200, event_id)


def _head(rng: random.Random, method: bytes, target: bytes) -> bytes:
    lines = [b"Host: x\r\n"] * rng.choice((0, 1, 1, 1))
    if rng.random() < 0.2:
        lines.append(rng.choice(_UPGRADES))
    if rng.random() < 0.2:
        lines.append(b"X-Long: " + b"x" * rng.randrange(4000) + b"\r\n")
    if rng.random() < 0.2:
        lines.append(b"X-Forged: a%0d%0aX-Event-Id: forged\r\nx-event-id: forged\r\n")
    rng.shuffle(lines)
    return b"%b %b HTTP/1.1\r\n" % (method, target) + b"".join(lines)


def is_whole(received: bytes) -> bool:
    """Tell whether these bytes are answers, and none of them breaks off."""
    try:
        answers_in(received)
    except (AssertionError, ValueError):
        return False
    return True
