"""Requests that are answered at once: which they are, and that nobody sees the difference."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from runtime.http.at_once import MOST_BYTES
from runtime.http.exchanges import (
    LONGEST_KNOWN_HEAD,
    MOST_KNOWN_HEADS,
    AnswerAtOnce,
    Exchange,
    head_of,
)
from runtime.http.patience import IDLE_S
from runtime.http.protocol import MAX_HEADERS, HTTPProtocol
from runtime.http.refusals import BUSY, HTTPS_REQUIRED
from tests.runtime.http.connections import (
    Connections,
    MemoryTransport,
    answer_with_the_body,
    settle,
)

pytestmark = pytest.mark.anyio
AT = b"/at-once"


def post(body: bytes, target: bytes = AT, version: bytes = b"1.1", lines: bytes = b"") -> bytes:
    return b"POST %b HTTP/%b\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (
        target, version, lines, len(body), body
    )  # fmt: skip


def answer(exchange: Exchange) -> bool:
    """Answer with the body, as the application behind ASGI does."""
    exchange.answer(head_of(200, [(b"content-length", b"%d" % len(exchange.body))]), exchange.body)
    return True


class Later:
    """Keeps exchanges, to be answered when the test wants it."""

    def __init__(self) -> None:
        self.kept: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> bool:
        self.kept.append(exchange)
        return True


def connections(take: AnswerAtOnce) -> Connections:
    """Return a process in which ASGI answers `asgi:` and the body."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        async def marked_send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"by", b"asgi")]}  # type: ignore[misc]
            await send(message)

        await answer_with_the_body(scope, receive, marked_send)  # type: ignore[arg-type]

    return Connections(marked, at_once={AT: take})


def bodies(transport: MemoryTransport) -> list[bytes]:
    """Return the bodies of the answers that went out."""
    found, rest = [], transport.sent
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: ([0-9]+)", head)
        assert length is not None
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        size = int(length[1])
        found.append(rest[:size])
        rest = rest[size:]
    return found


async def test_a_whole_request_is_answered_in_the_turn_in_which_it_came() -> None:
    protocol, transport = connections(answer).connect()
    for number in range(1, 4):
        protocol.data_received(post(b"one"))
        assert len(transport.writes) == number
        assert transport.writes[-1] == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none"
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    "request_in_pieces",
    [
        [post(b"two")[:-1], b"o"],
        [post(b"two")[:20], post(b"two")[20:-3], b"two"],
        [post(b"two", target=b"/other")],
        [post(b"two", target=AT + b"?a=1")],
        [post(b"two").replace(b"POST", b"PUT")],
        [post(b"two", lines=b"X-Long: %b\r\n" % (b"x" * MOST_BYTES))],
    ],
)
async def test_what_is_no_whole_post_to_the_very_route_goes_through_asgi(
    request_in_pieces: list[bytes],
) -> None:
    later = Later()
    protocol, transport = connections(later).connect()
    for piece in request_in_pieces:
        protocol.data_received(piece)
        await settle()
    assert later.kept == []
    assert bodies(transport) == [b"two"]
    assert b"by: asgi" in transport.sent
    protocol.connection_lost(None)


async def test_the_head_in_pieces_and_the_rest_as_a_whole_is_answered_at_once() -> None:
    protocol, transport = connections(answer).connect()
    for piece in (post(b"two")[:20], post(b"two")[20:]):
        protocol.data_received(piece)
    assert bodies(transport) == [b"two"]
    protocol.connection_lost(None)


async def test_a_chunked_body_that_comes_as_a_whole_is_one() -> None:
    protocol, transport = connections(answer).connect()
    chunked = b"2\r\non\r\n1\r\ne\r\n0\r\n\r\n"
    protocol.data_received(
        b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (AT, chunked)
    )
    assert bodies(transport) == [b"one"]
    protocol.connection_lost(None)


async def test_what_is_declined_goes_through_asgi_as_it_came() -> None:
    protocol, transport = connections(lambda _: False).connect()
    protocol.data_received(post(b"one") + post(b"two"))
    await settle()
    protocol.data_received(post(b"three"))
    await settle()
    assert bodies(transport) == [b"one", b"two", b"three"]
    assert transport.sent.count(b"by: asgi") == 3
    protocol.connection_lost(None)


async def test_answers_keep_their_order() -> None:
    later = Later()
    protocol, transport = connections(later).connect()
    protocol.data_received(post(b"one") + post(b"two"))
    protocol.data_received(post(b"three"))
    await settle()
    assert transport.sent == b""
    (exchange,) = later.kept
    answer(exchange)
    await settle()
    assert bodies(transport) == [b"one", b"two", b"three"]
    protocol.data_received(post(b"four"))
    answer(later.kept.pop())
    assert bodies(transport)[-1] == b"four"
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("version", "lines"),
    [(b"1.1", b"Connection: close\r\n"), (b"1.0", b""), (b"1.0", b"Connection: keep-alive\r\n")],
)
async def test_who_wants_no_more_is_told_that_the_connection_ends(
    version: bytes, lines: bytes
) -> None:
    protocol, transport = connections(answer).connect()
    protocol.data_received(post(b"one", version=version, lines=lines))
    assert b"\r\nconnection: close\r\n" in transport.sent
    assert transport.is_closed
    protocol.connection_lost(None)


async def test_at_the_end_of_the_process_the_answer_is_the_last_one() -> None:
    later = Later()
    process = connections(later)
    (first, transport), (second, other) = process.connect(), process.connect()
    first.data_received(post(b"one"))
    process.patience.is_ending = True
    first.shutdown()
    assert not transport.is_closed
    second.data_received(post(b"two"))
    for exchange in later.kept:
        answer(exchange)
    for each in (transport, other):
        assert b"\r\nconnection: close\r\n" in each.sent
        assert each.is_closed
    first.connection_lost(None)
    second.connection_lost(None)


async def test_a_client_that_has_closed_its_side_is_answered() -> None:
    later = Later()
    process = connections(later)
    for _ in range(2):  # the second time, the head is known
        protocol, transport = process.connect()
        protocol.data_received(post(b"one"))
        assert protocol.eof_received()
        answer(later.kept.pop())
        assert bodies(transport) == [b"one"]
        assert transport.is_closed
        protocol.connection_lost(None)


async def test_what_has_come_of_a_body_is_seen_before_the_rest() -> None:
    pieces: list[bytes] = []

    async def keep(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            pieces.append(message["body"])

    protocol, _ = Connections(keep, at_once={AT: answer}).connect()
    protocol.data_received(post(b"one")[:-1])
    await settle()
    assert pieces == [b"on"]
    protocol.connection_lost(None)
    await settle()


async def test_a_client_that_has_gone_gets_nothing_and_leaves_nothing() -> None:
    later = Later()
    process = connections(later)
    free = process.budget.free
    protocol, transport = process.connect()
    protocol.data_received(post(b"one"))
    assert process.budget.free == free - 3
    transport.abort()
    protocol.connection_lost(ConnectionResetError())
    assert process.budget.free == free
    answer(later.kept[0])
    assert transport.writes == []
    assert process.budget.free == free
    assert process.state.total_requests == 0


async def test_bytes_and_time_are_given_back_with_the_answer() -> None:
    later = Later()
    process = connections(later)
    free = process.budget.free
    protocol, transport = process.connect()
    for number in range(1, 3):
        protocol.data_received(post(b"x" * 5_000))
        process.pass_time(IDLE_S + 1)
        assert not transport.is_closed
        assert process.budget.free == free - 5_000
        answer(later.kept.pop())
        assert process.budget.free == free
        assert len(transport.writes) == number
    process.pass_time(IDLE_S + 1)
    assert transport.is_closed
    protocol.connection_lost(None)


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    protocol, transport = connections(answer).connect()
    protocol.pause_writing()
    protocol.data_received(post(b"one"))
    await settle()
    assert transport.sent == b""
    protocol.resume_writing()
    await settle()
    assert bodies(transport) == [b"one"]
    protocol.connection_lost(None)


async def test_what_was_written_before_goes_out_before() -> None:
    protocol, transport = connections(answer).connect()
    protocol.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nzero")
    protocol.data_received(post(b"one"))
    await settle()
    assert bodies(transport) == [b"zero", b"one"]
    protocol.connection_lost(None)


async def test_a_head_that_is_known_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    process = connections(answer)
    first, _ = process.connect()
    first.data_received(post(b"one"))
    second, transport = process.connect("127.0.0.2")

    def parse(_: HTTPProtocol, data: bytes) -> None:
        raise AssertionError(data)

    monkeypatch.setattr(HTTPProtocol, "feed", parse)
    for protocol in (first, second):
        protocol.data_received(post(b"two"))
        protocol.data_received(post(b"six"))
    assert bodies(transport) == [b"two", b"six"]
    for unlike in (post(b"four"), post(b"two").replace(b"Host: x", b"Host: y"), post(b"two")[:-1]):
        with pytest.raises(AssertionError, match="POST"):
            second.data_received(unlike)
    first.connection_lost(None)
    second.connection_lost(None)


async def test_behind_a_known_head_bodies_in_pieces_and_requests_in_line_are_what_they_are() -> (
    None
):
    protocol, transport = connections(answer).connect()
    protocol.data_received(post(b"one"))
    protocol.data_received(post(b"two")[:-1])
    await settle()
    protocol.data_received(b"o")
    await settle()
    protocol.data_received(post(b"six") + post(b"ten") + post(b"two")[:30])
    await settle()
    protocol.data_received(post(b"two")[30:])
    await settle()
    assert bodies(transport) == [b"one", b"two", b"six", b"ten", b"two"]
    protocol.connection_lost(None)


async def test_behind_half_a_head_a_known_one_is_what_it_is_there() -> None:
    protocol, transport = connections(answer).connect()
    protocol.data_received(post(b"one"))
    protocol.data_received(b"POST /other HTTP/1.1\r\nX: ")
    protocol.data_received(post(b"one"))
    await settle()
    assert bodies(transport) == [b"one", b"one"]
    assert b"by: asgi" in transport.sent
    protocol.connection_lost(None)


async def test_half_a_head_is_not_remembered_as_a_whole_one() -> None:
    process = connections(answer)
    protocol, _ = process.connect()
    protocol.data_received(post(b""))
    protocol.data_received(post(b"")[:30])
    assert len(process.at_once.heads) == 1
    protocol.connection_lost(None)


async def test_a_known_head_whose_end_is_still_to_come_may_go_on() -> None:
    later = Later()
    protocol, _ = connections(later).connect()
    protocol.data_received(post(b""))
    answer(later.kept.pop())
    protocol.data_received(post(b"").removesuffix(b"\r\n\r\n"))
    assert later.kept == []
    protocol.data_received(b"\r\nX-More: 1\r\n\r\n")
    (exchange,) = later.kept
    assert exchange.headers[b"x-more"] == b"1"
    answer(exchange)
    protocol.connection_lost(None)


async def test_behind_a_known_head_answers_keep_their_order() -> None:
    later = Later()
    protocol, transport = connections(later).connect()
    protocol.data_received(post(b"one"))
    answer(later.kept.pop())
    protocol.data_received(post(b"two"))
    protocol.data_received(post(b"six"))
    await settle()
    (exchange,) = later.kept
    answer(exchange)
    await settle()
    assert bodies(transport) == [b"one", b"two", b"six"]
    protocol.connection_lost(None)


async def test_over_a_connection_too_many_a_known_head_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.http.protocol.MAX_CONNECTIONS", 1)
    later = Later()
    process = connections(later)
    first, _ = process.connect()
    first.data_received(post(b"one"))
    answer(later.kept.pop())
    second, transport = process.connect()
    second.data_received(post(b"two"))
    assert transport.sent == BUSY
    assert later.kept == []
    first.connection_lost(None)
    second.connection_lost(None)


async def test_a_known_head_that_is_declined_after_all_counts_once() -> None:
    accepts = [True]
    process = connections(lambda exchange: accepts[0] and answer(exchange))
    free = process.budget.free
    protocol, transport = process.connect()
    protocol.data_received(post(b"one"))
    accepts[0] = False
    protocol.data_received(post(b"two"))
    assert process.budget.free == free - 3
    await settle()
    assert bodies(transport) == [b"one", b"two"]
    assert process.budget.free == free
    protocol.connection_lost(None)


async def test_an_answer_has_the_lines_that_uvicorn_adds_to_all() -> None:
    process = connections(answer)
    protocol, transport = process.connect()
    for second in (b"1", b"2"):
        process.state.default_headers = [(b"date", second)]
        protocol.data_received(post(b"one"))
        assert b"\r\ndate: %b\r\n" % second in transport.writes[-1]
    protocol.connection_lost(None)


async def test_who_sends_a_known_head_is_seen_anew() -> None:
    later = Later()
    process = connections(later)
    for number in range(1, 4):
        protocol, _ = process.connect(f"10.0.0.{number}")
        protocol.data_received(post(b"one"))
    clients = [exchange.scope["client"][0] for exchange in later.kept]
    assert clients == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert len(process.at_once.heads) == 1


@pytest.mark.parametrize(
    "sent",
    [
        post(b"one", version=b"1.0"),
        post(b"one", lines=b"Connection: close\r\n"),
        post(b"one", lines=b"X-Long: %b\r\n" % (b"x" * LONGEST_KNOWN_HEAD)),
        b"\r\n" + post(b"one"),
        b"\r\n\r\n" + post(b"one"),
        post(b"one") + b"\r\n",
        post(b"one") + b"POST",
        post(b"one").replace(b"Length: 3", b"Length: 03"),
        b"POST %b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n" % AT,
        post(b"", target=AT).replace(b"Content-Length: 0\r\n", b""),
    ],
)
async def test_only_what_will_say_the_same_again_is_remembered(sent: bytes) -> None:
    process = connections(answer)
    protocol, transport = process.connect()
    protocol.data_received(sent)
    assert transport.sent.startswith(b"HTTP/1.1 200 ")
    assert process.at_once.heads == {}
    protocol.connection_lost(None)


async def test_heads_that_are_known_have_a_bound() -> None:
    process = connections(answer)
    protocol, transport = process.connect()
    for number in range(MOST_KNOWN_HEADS + 5):
        protocol.data_received(post(b"one", lines=b"X-Number: %d\r\n" % number))
    assert len(process.at_once.heads) == 5
    assert len(transport.writes) == MOST_KNOWN_HEADS + 5
    protocol.connection_lost(None)


async def test_a_known_head_opens_no_door_that_is_closed() -> None:
    process = Connections(
        answer_with_the_body,
        object_to=lambda peer: None if peer == "127.0.0.1" else lambda *_: HTTPS_REQUIRED,
        at_once={AT: answer},
    )
    inside, _ = process.connect()
    inside.data_received(post(b"one"))
    outside, transport = process.connect("10.0.0.1")
    outside.data_received(post(b"one"))
    assert transport.sent == HTTPS_REQUIRED
    inside.connection_lost(None)
    outside.connection_lost(None)


async def test_at_the_end_of_the_process_a_known_head_is_told_so() -> None:
    process = connections(answer)
    protocol, transport = process.connect()
    protocol.data_received(post(b"one"))
    process.patience.is_ending = True
    protocol.data_received(post(b"two"))
    assert b"\r\nconnection: close\r\n" in transport.sent
    assert transport.is_closed
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(b"x", lines=b"a: b\r\n" * MAX_HEADERS), b"431 "),
        (post(b"x").replace(b"Content-Length: 1", b"Content-Length: 1x"), b"400 "),
        (b"POST %b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % AT, b"400 "),
    ],
)
async def test_what_is_refused_by_its_form_is_never_taken(
    request_bytes: bytes, status: bytes
) -> None:
    later = Later()
    protocol, transport = connections(later).connect()
    protocol.data_received(request_bytes)
    await settle()
    assert transport.sent.startswith(b"HTTP/1.1 " + status)
    assert transport.is_ended
    assert later.kept == []
    assert not protocol.tasks
    protocol.connection_lost(None)


async def test_beyond_the_budget_a_body_is_refused() -> None:
    later = Later()
    process = Connections(answer_with_the_body, in_flight_bytes=70_000, at_once={AT: later})
    protocols = [process.connect() for _ in range(3)]
    for protocol, _ in protocols:
        protocol.data_received(post(b"x" * 6_000))
    assert len(later.kept) == 1
    for _, transport in protocols[1:]:
        assert transport.sent.startswith(b"HTTP/1.1 503 ")
    for protocol, _ in protocols:
        protocol.connection_lost(None)
    assert process.budget.free == 70_000


async def test_beyond_the_budget_a_body_behind_a_known_head_is_refused() -> None:
    later = Later()
    process = Connections(answer_with_the_body, in_flight_bytes=70_000, at_once={AT: later})
    first, _ = process.connect()
    first.data_received(post(b"x" * 6_000))
    second, transport = process.connect()
    second.data_received(post(b"x" * 6_000))
    assert transport.sent.startswith(b"HTTP/1.1 503 ")
    answer(later.kept[0])
    third, transport = process.connect()
    third.data_received(post(b"x" * 6_000))
    assert len(later.kept) == 2
    for protocol in (first, second, third):
        protocol.connection_lost(None)
    assert process.budget.free == 70_000


@settings(deadline=None)
@given(
    sent=st.lists(
        st.tuples(st.binary(max_size=40), st.sampled_from([AT, b"/other"]), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    cuts=st.lists(st.integers(0, 1_500), max_size=12),
    declines=st.booleans(),
    pauses=st.booleans(),
)
def test_however_a_stream_of_requests_is_cut_the_answers_are_the_same(
    sent: list[tuple[bytes, bytes, bool]], cuts: list[int], declines: bool, pauses: bool
) -> None:
    stream = b"".join(
        post(body, target, lines=b"Accept: */*\r\n" if has_more else b"")
        for body, target, has_more in sent
    )
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    take = _sometimes(answer) if declines else _later(answer) if pauses else answer

    async def run() -> list[bytes]:
        free = process.budget.free
        protocol, transport = process.connect()
        for begin, end in pairwise(places):
            protocol.data_received(stream[begin:end])
            if pauses:
                await asyncio.sleep(0)
        for _ in range(20 * len(sent)):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        assert process.budget.free == free
        return bodies(transport)

    process = connections(take)
    for _ in range(2):  # the second time, heads are known
        assert asyncio.run(run()) == [body for body, _, _ in sent]


def _sometimes(take: AnswerAtOnce) -> AnswerAtOnce:
    """Decline every other request."""
    counted = [0]

    def answer_some(exchange: Exchange) -> bool:
        counted[0] += 1
        return counted[0] % 2 == 0 and take(exchange)

    return answer_some


def _later(take: Callable[[Exchange], object]) -> AnswerAtOnce:
    """Answer in another turn of the loop."""

    def answer_later(exchange: Exchange) -> bool:
        asyncio.get_running_loop().call_soon(take, exchange)
        return True

    return answer_later
