"""The HTTP protocol over a transport in memory: gathered writes, and bounds on connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

import runtime.http.protocol as module
from runtime.http.patience import (
    ANSWER_TAKEN_WITHIN_S,
    CLOSED_WITHIN_S,
    HEAD_WITHIN_S,
    IDLE_S,
    LAST_REQUEST_WITHIN_S,
    REST_WITHIN_S,
)
from runtime.http.protocol import HTTPProtocol
from tests.runtime.http.connections import POST, REQUEST, Connections, answer_with_the_body, settle

pytestmark = pytest.mark.anyio


@pytest.fixture
async def failures() -> AsyncIterator[list[object]]:
    """What the event loop could only log."""
    found: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield found
    loop.set_exception_handler(None)


async def test_an_answer_is_one_write() -> None:
    protocol, transport = Connections().connect()
    for number in range(1, 3):
        protocol.data_received(REQUEST)
        await settle()
        assert len(transport.writes) == number
        assert transport.writes[-1].startswith(b"HTTP/1.1 200 OK\r\n")
        assert transport.writes[-1].endswith(b"\r\n\r\nok")
    protocol.connection_lost(None)


async def test_what_is_written_before_a_close_goes_out() -> None:
    protocol, transport = Connections().connect()
    protocol.data_received(REQUEST.replace(b"Host", b"Connection: close\r\nHost"))
    await settle()
    assert b"".join(transport.writes).endswith(b"ok")
    assert transport.is_closed
    protocol.connection_lost(None)


async def test_what_is_not_http_is_refused() -> None:
    protocol, transport = Connections().connect()
    protocol.data_received(b"\x16\x03\x01")
    assert transport.sent.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in transport.sent
    assert transport.is_ended
    protocol.data_received(REQUEST)
    await settle()
    assert transport.sent.count(b"HTTP/1.1") == 1
    protocol.connection_lost(None)


@pytest.mark.parametrize("target", [b"/", b"x:80"])
async def test_connect_is_refused_and_nothing_else(target: bytes) -> None:
    protocol, transport = Connections().connect()
    protocol.data_received(REQUEST + b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % target + REQUEST)
    await settle()
    first, second = transport.sent.split(b"HTTP/1.1 ")[1:]
    assert (first[:4], second[:4]) == (b"200 ", b"400 ")
    assert transport.is_ended
    protocol.connection_lost(None)


async def test_what_is_written_to_a_client_that_goes_in_the_same_turn_is_dropped(
    failures: list[object],
) -> None:
    protocol, transport = Connections().connect()
    protocol.data_received(REQUEST)
    protocol.transport.write(b"late")
    transport.abort()
    await settle()
    assert transport.writes == []
    protocol.connection_lost(None)
    assert failures == []


async def test_what_is_written_behind_the_end_is_dropped(failures: list[object]) -> None:
    protocol, transport = Connections(answer_with_the_body).connect()
    # The application asks for the body after the connection has ended: 100 Continue is too late.
    protocol.data_received(
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    await settle()
    assert transport.is_ended
    assert transport.sent.count(b"HTTP/1.1") == 1
    protocol.connection_lost(None)
    assert failures == []


async def test_one_connection_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    process = Connections()
    connections = [process.connect() for _ in range(3)]
    assert [transport.is_closed for _, transport in connections] == [False, False, True]
    refused = connections[2][1].writes[0]
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in refused
    for protocol, _ in connections:
        protocol.connection_lost(None)
    protocol, transport = process.connect()
    assert not transport.is_closed
    protocol.connection_lost(None)


async def test_a_connection_without_a_request_is_closed() -> None:
    process = Connections()
    (silent, closed), (used, kept) = process.connect(), process.connect()
    used.data_received(REQUEST)
    await settle()
    process.pass_time(HEAD_WITHIN_S - 1)
    silent.data_received(b"POST /track HTTP/1.1\r\nHost: ")
    process.pass_time(1)
    assert not closed.is_closed  # its deadline begins with the head
    process.pass_time(HEAD_WITHIN_S)
    assert closed.is_closed
    assert not kept.is_closed
    process.pass_time(IDLE_S)
    assert kept.is_closed


async def test_a_head_that_trickles_in_is_given_up_on_a_used_connection_too() -> None:
    process = Connections()
    protocol, transport = process.connect()
    protocol.data_received(REQUEST)
    await settle()
    protocol.data_received(b"GET / HTTP/1.1\r\nA: ")
    for _ in range(HEAD_WITHIN_S):
        assert not transport.is_closed
        protocol.data_received(b"a")
        process.pass_time(1)
    assert transport.is_closed


async def test_line_ends_for_ever_do_not_keep_a_connection() -> None:
    process = Connections()
    protocol, transport = process.connect()
    for _ in range(HEAD_WITHIN_S):
        protocol.data_received(b"\r\n")
        process.pass_time(1)
    assert transport.is_closed


async def test_the_rest_of_a_body_that_was_answered_already_has_its_time() -> None:
    process = Connections()
    (whole, kept), (endless, closed) = process.connect(), process.connect()
    for protocol in (whole, endless):
        protocol.data_received(POST + b"1")
    await settle()
    whole.data_received(b"2345" + REQUEST)
    await settle()
    assert kept.sent.count(b"HTTP/1.1 200") == 2
    for _ in range(REST_WITHIN_S):
        assert not closed.is_closed
        endless.data_received(b"")
        process.pass_time(1)
    assert closed.is_closed
    assert not kept.is_closed


async def test_a_client_that_does_not_read_is_dropped() -> None:
    process = Connections()
    protocol, transport = process.connect()
    protocol.data_received(REQUEST)
    protocol.pause_writing()
    process.pass_time(ANSWER_TAKEN_WITHIN_S - 1)
    assert not transport.is_aborted
    process.pass_time(1)
    assert transport.is_aborted
    protocol.connection_lost(None)


async def test_a_client_that_reads_again_is_kept() -> None:
    process = Connections()
    protocol, transport = process.connect()
    protocol.pause_writing()
    protocol.resume_writing()
    process.pass_time(ANSWER_TAKEN_WITHIN_S + 1)
    assert not transport.is_closed


async def test_a_client_that_does_not_let_go_is_dropped() -> None:
    process = Connections()
    protocol, transport = process.connect()
    protocol.data_received(REQUEST.replace(b"Host", b"Connection: close\r\nHost"))
    await settle()
    assert transport.is_closed
    process.pass_time(CLOSED_WITHIN_S)
    assert transport.is_aborted


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * module.MAX_URL_BYTES + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (module.MAX_HEADERS + 1) + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * module.MAX_HEAD_BYTES + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A" * 3 * module.MAX_HEAD_BYTES, b"431"),
        (b"GET /" + b"a" * 3 * module.MAX_HEAD_BYTES, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"Abcd: %b\r\n" % (b"e" * 1000) * 40 + b"\r\n", b"431"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 1000, 1 << 20])
async def test_a_head_beyond_its_bounds_is_refused(
    head: bytes, status: bytes, at_once: int
) -> None:
    protocol, transport = Connections().connect()
    for begin in range(0, len(head), at_once):
        protocol.data_received(head[begin : begin + at_once])
    await settle()
    assert transport.sent.startswith(b"HTTP/1.1 " + status)
    assert transport.sent.count(b"HTTP/1.1") == 1
    assert transport.is_ended


async def test_a_head_within_its_bounds_is_taken() -> None:
    protocol, transport = Connections().connect()
    url = b"/" + b"a" * (module.MAX_URL_BYTES - 1)
    headers = b"A: b\r\n" * (module.MAX_HEADERS - 1) + b"B: " + b"c" * 20_000 + b"\r\n"
    head = b"GET " + url + b" HTTP/1.1\r\n" + headers + b"\r\n"
    for at_once in (1, 777, 1 << 20):
        for begin in range(0, len(head), at_once):
            protocol.data_received(head[begin : begin + at_once])
        await settle()
    assert transport.sent.count(b"HTTP/1.1 200 OK") == 3


async def test_a_refusal_waits_for_its_turn() -> None:
    protocol, transport = Connections(answer_with_the_body).connect()
    protocol.data_received(POST + b"first" + POST + b"other" + b"rubbish\r\n\r\n" + REQUEST)
    await settle()
    first, second, third = transport.sent.split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"first")
    assert second.endswith(b"other")
    assert third.startswith(b"400 ")
    assert transport.is_ended


async def test_a_body_that_breaks_its_own_rules_is_the_request_that_is_refused() -> None:
    protocol, transport = Connections(answer_with_the_body).connect()
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    protocol.data_received(POST + b"first" + chunked + b"zz\r\n")
    await settle()
    first, second = transport.sent.split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"first")
    assert second.startswith(b"400 ")
    protocol, transport = Connections(answer_with_the_body).connect()
    protocol.data_received(chunked + b"zz\r\n")
    await settle()
    assert transport.sent.startswith(b"HTTP/1.1 400 ")
    assert transport.sent.count(b"HTTP/1.1") == 1


async def test_a_line_of_requests_that_is_too_long_is_cut_behind_the_last_one_taken() -> None:
    protocol, transport = Connections().connect()
    protocol.data_received(REQUEST * 1000)
    await settle()
    assert transport.sent.count(b"HTTP/1.1 200 OK") == module.MAX_PIPELINED + 1
    assert transport.is_closed


async def test_bodies_in_line_have_a_bound_together() -> None:
    protocol, transport = Connections().connect()
    long = POST.replace(b"5", b"30000") + b"b" * 30_000
    protocol.data_received(long * 30)
    await settle()
    assert 1 < transport.sent.count(b"HTTP/1.1 200 OK") < 8
    assert transport.is_closed


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_an_offer_of_another_protocol_is_passed_over(body: bytes) -> None:
    """Java's client offers h2c with every request, those with a body too."""
    protocol, transport = Connections(answer_with_the_body).connect()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    request = b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (
        offer,
        len(body),
        body,
    )
    for number in range(1, 4):
        protocol.data_received(request)
        await settle()
        assert transport.sent.count(b"HTTP/1.1 200 OK") == number
    protocol.data_received(request * 3)
    await settle()
    assert transport.sent.count(b"HTTP/1.1 200 OK") == 6
    assert not transport.is_closed


async def test_the_bytes_of_a_body_that_nobody_read_are_not_kept() -> None:
    protocol, transport = Connections().connect()
    protocol.data_received(POST.replace(b"5", b"60000") + b"b" * 60_000)
    await settle()
    assert transport.sent.count(b"HTTP/1.1 200 OK") == 1
    assert not protocol.cycle.body


async def test_a_client_that_has_closed_its_side_is_answered() -> None:
    protocol, transport = Connections(answer_with_the_body).connect()
    protocol.data_received(POST + b"hello")
    assert protocol.eof_received()
    await settle()
    assert transport.sent.endswith(b"hello")
    assert b"connection: close" in transport.sent
    assert transport.is_closed
    protocol, transport = Connections(answer_with_the_body).connect()
    protocol.data_received(POST + b"hel")
    assert not protocol.eof_received()


async def test_at_the_end_a_last_request_is_answered_and_its_connection_closed() -> None:
    process = Connections()
    (asking, answered), (_, idle) = process.connect(), process.connect()
    asking.data_received(REQUEST)
    await settle()
    process.patience.is_ending = True
    for protocol in list(process.state.connections):
        protocol.shutdown()
    assert not answered.is_closed
    asking.data_received(REQUEST)
    await settle()
    assert answered.sent.count(b"HTTP/1.1 200 OK") == 2
    assert answered.sent.count(b"connection: close") == 1
    assert answered.is_closed
    process.pass_time(LAST_REQUEST_WITHIN_S)
    assert idle.is_closed


async def test_bodies_are_counted_as_they_come_and_given_back() -> None:
    process = Connections(answer_with_the_body, in_flight_bytes=200_000)
    protocol, transport = process.connect()
    lost, _ = process.connect()
    long = POST.replace(b"5", b"50000")
    protocol.data_received(long + b"b" * 30_000)
    lost.data_received(long + b"b" * 40_000)
    await settle()
    assert process.budget.free == 130_000
    protocol.data_received(b"b" * 20_000)
    await settle()
    assert transport.sent.count(b"HTTP/1.1 200 OK") == 1
    assert process.budget.free == 160_000
    protocol.data_received(POST + b"first" + POST + b"other")
    await settle()
    lost.connection_lost(None)
    assert process.budget.free == 200_000


async def test_beyond_the_budget_a_body_is_refused_and_another_request_is_not() -> None:
    process = Connections(answer_with_the_body, in_flight_bytes=100_000)
    (holding, served), (late, refused) = process.connect(), process.connect()
    holding.data_received(POST.replace(b"5", b"60000") + b"b" * 50_000)
    late.data_received(REQUEST)
    await settle()
    assert refused.sent.startswith(b"HTTP/1.1 200 OK")
    late.data_received(POST.replace(b"Host", b"Expect: 100-continue\r\nHost"))
    assert b'"code":"overloaded"' in refused.sent
    assert b"\r\nretry-after: 1\r\n" in refused.sent
    assert b"100 Continue" not in refused.sent
    assert refused.is_ended
    holding.data_received(b"b" * 10_000)
    await settle()
    assert served.sent.startswith(b"HTTP/1.1 200 OK")
    assert process.budget.free == 100_000


async def test_what_comes_at_once_is_refused_before_anybody_has_looked_at_it() -> None:
    process = Connections(answer_with_the_body, in_flight_bytes=150_000)
    connections = [process.connect() for _ in range(10)]
    for protocol, _ in connections:
        protocol.data_received(POST.replace(b"5", b"60000") + b"b" * 60_000)
        assert process.budget.free >= 0
    await settle()
    statuses = [transport.sent.split()[1] for _, transport in connections]
    assert statuses == [b"200"] * 2 + [b"503"] * 8
    for protocol, _ in connections:
        protocol.connection_lost(None)
    assert process.budget.free == 150_000


async def test_a_client_that_reads_nothing_of_a_long_answer_is_dropped() -> None:
    """The same over sockets: the buffers of both sides are full, and nothing moves."""
    written = asyncio.Event()

    async def answer_at_length(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"a" * 1_000_000, "more_body": True}
        for _ in range(50):
            await send(piece)
        await send({"type": "http.response.body", "body": b""})
        written.set()

    process = Connections(answer_at_length)
    server = await asyncio.get_running_loop().create_server(process.protocol, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(REQUEST)
        async with asyncio.timeout(10):
            while not any(  # noqa: ASYNC110
                isinstance(each, HTTPProtocol) and each.flow.write_paused
                for each in process.state.connections
            ):
                await asyncio.sleep(0.01)
        process.pass_time(ANSWER_TAKEN_WITHIN_S)
        await asyncio.wait_for(written.wait(), 5)
        assert not process.state.connections
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(reader.read(1 << 20), 5):
                pass
        writer.close()


async def test_bodies_that_were_begun_in_time_are_refused_where_they_grow_too_large() -> None:
    process = Connections(answer_with_the_body, in_flight_bytes=100_000)
    (first, served), (second, refused) = process.connect(), process.connect()
    for protocol in (first, second):
        protocol.data_received(POST.replace(b"5", b"60000"))
    first.data_received(b"b" * 59_000)
    second.data_received(b"b" * 60_000)
    assert process.budget.free >= 0
    first.data_received(b"b" * 1000)
    await settle()
    assert served.sent.startswith(b"HTTP/1.1 200 OK")
    assert b'"code":"overloaded"' in refused.sent
    second.connection_lost(None)
    assert process.budget.free == 100_000


async def test_a_head_that_begins_behind_a_request_has_its_deadline_too() -> None:
    process = Connections()
    protocol, transport = process.connect()
    protocol.data_received(REQUEST + b"GET / HTTP/1.1\r\nA: ")
    await settle()
    process.pass_time(HEAD_WITHIN_S)
    assert transport.is_closed
