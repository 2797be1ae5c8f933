"""POST /track has two ways from a request to its answer: nobody can tell them apart."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.reading import Reader
from ingest.track import PATH, Track
from runtime.access.guards import Guard
from runtime.access.key_ring import KeyRing
from runtime.access.keys import Scope, encode_keys, make_key
from runtime.access.rates import PLACE_BYTES, WAYS, Buckets, Limit
from tests.runtime.http.connections import Connections

pytestmark = pytest.mark.anyio
EVENT = b'{"event":"play","user_id":"u","timestamp":"2026-01-01T00:00:00Z","metadata":{"a":1}}'
WITH_ID = b'{"event":"play","user_id":"u","event_id":"e-1"}'
_MADE_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
Outcome = Callable[[], "asyncio.Future[bool]"]


def settled(*, logged: bool) -> asyncio.Future[bool]:
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    future.set_result(logged)
    return future


def logged() -> asyncio.Future[bool]:
    return settled(logged=True)


def away() -> asyncio.Future[bool]:
    return settled(logged=False)


def later() -> asyncio.Future[bool]:
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, future.set_result, True)
    return future


def broken() -> asyncio.Future[bool]:
    raise LookupError("a bug")


class Publisher:
    """A way into Kafka that ends as it is told to."""

    def __init__(self, outcome: Outcome) -> None:
        self.taken: list[tuple[str, bytes, list[tuple[str, bytes]]]] = []
        self._outcome = outcome

    def put(
        self, user_id: str, value: bytes, headers: list[tuple[str, bytes]]
    ) -> asyncio.Future[bool]:
        self.taken.append((user_id, _MADE_ID.sub(b"MADE", value), headers))
        return self._outcome()


class Service:
    """POST /track over a connection in memory, by one of the ways."""

    def __init__(self, guard: Guard, outcome: Outcome, *, at_once: bool) -> None:
        self.publisher = Publisher(outcome)
        self.track = Track(self.publisher, guard, Reader(1 << 20))
        target = PATH.encode()
        self.connections = Connections(
            self.track, at_once={target: self._count_and_answer} if at_once else {}
        )
        self.answered_at_once = 0

    def _count_and_answer(self, exchange: object) -> bool:
        is_answered = self.track.answer_at_once(exchange)  # type: ignore[arg-type]
        self.answered_at_once += is_answered
        return is_answered

    async def send(self, request: bytes) -> tuple[bytes, object]:
        """Return all that can be seen of what a request has done."""
        protocol, transport = self.connections.connect()
        protocol.data_received(request)
        for _ in range(100):
            if transport.writes:
                break
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        head, _, body = _MADE_ID.sub(b"MADE", transport.sent).partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        seen = sorted(lines), body, transport.is_closed, transport.is_ended
        protocol.connection_lost(None)
        return status, seen

    @property
    def noted(self) -> object:
        """What was published and counted."""
        return self.publisher.taken, self.track.refusals, self.track.acknowledged.count


def request(body: bytes, *lines: bytes) -> bytes:
    head = b"".join(b"%b\r\n" % line for line in lines)
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%b%b\r\n%b" % (PATH.encode(), length, head, body)


REQUESTS = [
    request(EVENT),
    request(WITH_ID),
    request(EVENT, b"Content-Type: application/json"),
    request(EVENT, b"Content-Type: text/plain;charset=UTF-8"),
    request(EVENT, b"Content-Type: image/png"),
    request(EVENT, b"Content-Type: application/json; charset=latin-1"),
    request(EVENT, b"Idempotency-Key: k-1"),
    request(EVENT, b'Idempotency-Key: "k 1\xc3\xa9"'),
    request(EVENT, b'Idempotency-Key: "open'),
    request(EVENT, b"Idempotency-Key: ~mine"),
    request(EVENT, b"X-Write-Key: wrong"),
    request(EVENT, b"Authorization: Bearer SECRET"),
    request(EVENT, b"Authorization: Bearer SECRET", b"Authorization: Bearer SECRET"),
    request(EVENT, b"X-Write-Key: SECRET", b"Connection: close"),
    request(EVENT, b"Expect: 100-continue"),
    request(EVENT, b"X-Write-Key: wrong", b"Expect: 100-continue"),
    request(gzip.compress(EVENT, mtime=0), b"Content-Encoding: gzip"),
    request(EVENT, b"Content-Encoding: br"),
    request(EVENT, b"Content-Encoding: gzip"),
    request(b""),
    request(b"[]"),
    request(b'{"event":"date","user_id":"u"}'),
    request(b'{"event":"play"}'),
    request(b'{"event":"play","user_id":"\\ud800","metadata":{"x":"\\ud800"}}'),
    request(b'{"event":"play","user_id":"u","metadata":[]}'),
    request(b'{"event":"play","user_id":"u","timestamp":"yesterday"}'),
    request(b'{"event":"play","user_id":"u","event_id":"~x"}'),
    request(b'{"event":"play","user_id":"u","event_id":"\xc3\xa9 \\u0000"}'),
    request(b'{"event":"play","user_id":"' + b"u" * 12_000 + b'"}'),
    request(b'{"event":"play","user_id":"u","x":"' + b"u" * 70_000 + b'"}'),
]


def limited(per_s: int) -> Buckets:
    return Buckets(Limit("key", per_s, 1), memoryview(bytearray(PLACE_BYTES * WAYS)), b"s")


@pytest.mark.parametrize("outcome", [logged, later, away, broken])
@pytest.mark.parametrize("guarding", ["open", "keys", "limits"])
async def test_both_ways_answer_and_note_the_same(
    tmp_path: Path, outcome: Outcome, guarding: str
) -> None:
    keys = tmp_path / "keys"
    key, secret = make_key("web", [Scope.WRITE], datetime.now(UTC))
    if guarding != "open":
        keys.write_text(encode_keys([key]))

    def service(*, at_once: bool) -> Service:
        buckets = limited(per_s=24) if guarding == "limits" else None
        guard = Guard(KeyRing(keys), Scope.WRITE, per_key=buckets, clock=lambda: 100.0)
        return Service(guard, outcome, at_once=at_once)

    asgi, at_once = service(at_once=False), service(at_once=True)
    for each in (*REQUESTS, *REQUESTS):  # the second time, heads are known
        sent = each.replace(b"SECRET", secret.encode())
        assert await at_once.send(sent) == await asgi.send(sent), each
    assert at_once.noted == asgi.noted
    # Five are to be unfolded or to be asked for, two are long.
    assert at_once.answered_at_once == 2 * (len(REQUESTS) - 7)
    assert len(at_once.connections.at_once.heads) > 10
    assert asgi.answered_at_once == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.dictionaries(
            st.sampled_from(["event", "user_id", "timestamp", "metadata", "event_id", "x"]),
            st.one_of(
                st.text(max_size=20),
                st.none(),
                st.integers(),
                st.dictionaries(st.text(max_size=5), st.floats(), max_size=3),
            ),
        ).map(lambda fields: json.dumps(fields).encode()),
    ),
    key=st.one_of(st.none(), st.binary(max_size=20)),
)
def test_whatever_is_sent_both_ways_answer_the_same(
    tmp_path: Path, body: bytes, key: bytes | None
) -> None:
    async def run() -> None:
        ways = [
            Service(Guard(KeyRing(tmp_path / "none"), Scope.WRITE), logged, at_once=at_once)
            for at_once in (False, True)
        ]
        lines = () if key is None else (b"Idempotency-Key: " + key,)
        asgi, at_once = [await each.send(request(body, *lines)) for each in ways]
        assert at_once == asgi
        assert ways[0].noted == ways[1].noted

    asyncio.run(run())


async def test_an_acknowledgement_that_was_cancelled_is_none(tmp_path: Path) -> None:
    def cancelled() -> asyncio.Future[bool]:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.cancel()
        return future

    service = Service(Guard(KeyRing(tmp_path / "none"), Scope.WRITE), cancelled, at_once=True)
    status, _ = await service.send(request(EVENT))
    assert status == b"HTTP/1.1 503 Service Unavailable"
    assert service.track.refusals == {"unavailable": 1}
