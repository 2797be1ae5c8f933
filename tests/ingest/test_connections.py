"""POST /track as bytes on a connection: pieces, breaks, slowness, many at once."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.ingest.service import Service, read_events

pytestmark = pytest.mark.anyio
HEAD = b"POST /track HTTP/1.1\r\nHost: x\r\n"


def request(event_id: str, *, user: str = "c") -> bytes:
    body = f'{{"event":"play","user_id":"{user}","event_id":"{event_id}"}}'.encode()
    return HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    status, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers[b"content-length"]))
    return int(status.split()[1]), headers, body


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def test_a_connection_is_kept(service: Service) -> None:
    reader, writer = await asyncio.open_connection(*service.address)
    for number in range(3):
        writer.write(request(f"kept-{number}"))
        status, headers, _ = await read_answer(reader)
        assert status == 200
        assert b"connection" not in headers
    await close(writer)


async def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    reader, writer = await asyncio.open_connection(*service.address)
    wanted = [f"pipe-{number}" for number in range(20)]
    writer.write(b"".join(map(request, wanted)) + HEAD + b"Content-Length: 1\r\n\r\n{")
    for each in wanted:
        status, headers, _ = await read_answer(reader)
        assert (status, headers[b"x-event-id"].decode()) == (200, each)
    assert (await read_answer(reader))[0] == 400
    await close(writer)


async def test_a_body_in_pieces_is_one_body(service: Service) -> None:
    reader, writer = await asyncio.open_connection(*service.address)
    for byte in request("pieces"):
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await read_answer(reader))[0] == 200
    pieces = (b'{"event":', b'"play","user_id":"chunky"   }', b"")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert (await read_answer(reader))[0] == 200
    await close(writer)


async def test_a_long_body_without_a_length_is_cut_off(service: Service) -> None:
    reader, writer = await asyncio.open_connection(*service.address)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(80):
        writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
    status, _, body = await read_answer(reader)
    assert status == 413
    assert b'"too_large"' in body
    writer.write(b"0\r\n\r\n" + request("after-long"))
    assert (await read_answer(reader))[0] == 200
    await close(writer)


async def test_a_length_over_the_limit_is_refused_before_the_body(service: Service) -> None:
    reader, writer = await asyncio.open_connection(*service.address)
    writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n")
    assert (await read_answer(reader))[0] == 413
    await close(writer)


async def test_a_client_that_expects_to_be_asked_for_the_body_is_asked(service: Service) -> None:
    reader, writer = await asyncio.open_connection(*service.address)
    head, body = request("asked").split(b"\r\n\r\n", 1)
    writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(body)
    assert (await read_answer(reader))[0] == 200
    await close(writer)


async def test_a_body_that_breaks_off_is_forgotten(service: Service) -> None:
    for rest in (b"", b'{"event":"play","user_id":"broken-off"'):
        _, writer = await asyncio.open_connection(*service.address)
        writer.write(HEAD + b"Content-Length: 60\r\n\r\n" + rest)
        await writer.drain()
        await close(writer)
    reader, writer = await asyncio.open_connection(*service.address)
    writer.write(request("after-break"))
    assert (await read_answer(reader))[0] == 200
    await close(writer)
    log = service.log.read_text()
    assert "Traceback" not in log
    assert "broken-off" not in log


async def test_clients_that_vanish_leave_no_trace(service: Service) -> None:
    for number in range(20):
        _, writer = await asyncio.open_connection(*service.address)
        writer.write(request(f"vanished-{number}"))
        writer.transport.abort()
    reader, writer = await asyncio.open_connection(*service.address)
    writer.write(request("after-vanished"))
    assert (await read_answer(reader))[0] == 200
    await close(writer)
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize(
    "text", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"]
)
async def test_what_is_not_http_gets_the_shape_of_all_errors(service: Service, text: bytes) -> None:
    reader, writer = await asyncio.open_connection(*service.address)
    writer.write(text)
    status, _, body = await read_answer(reader)
    assert status == 400
    assert b'"code":"invalid_request"' in body
    assert await reader.read() == b""
    await close(writer)


async def test_a_thousand_at_once(service: Service) -> None:
    async def send(number: int) -> int:
        reader, writer = await asyncio.open_connection(*service.address)
        writer.write(request(f"many-{number}", user=f"user-{number}"))
        status, _, _ = await read_answer(reader)
        await close(writer)
        return status

    assert await asyncio.gather(*map(send, range(1000))) == [200] * 1000
    ids = [each.event_id for each in await asyncio.to_thread(read_events, service.settings)]
    wanted = {f"many-{number}" for number in range(1000)}
    assert len([each for each in ids if each in wanted]) == 1000
    assert wanted <= set(ids)


async def test_an_answer_is_one_piece(service: Service) -> None:
    with socket.create_connection(service.address) as connection:
        await asyncio.to_thread(connection.sendall, request("one-piece"))
        answer = await asyncio.to_thread(connection.recv, 65_536)
    assert answer.endswith(b'{"status":"success","message":"Event logged."}')
