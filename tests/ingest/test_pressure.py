"""More than a process may hold, and clients that take their time, as people would send them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from contracts.events import MAX_EVENT_BYTES
from ingest.requests import BODY_WITHIN_S
from runtime.http.patience import HEAD_WITHIN_S
from runtime.settings import Settings
from tests.ingest.service import Service, memory_of, start
from tests.ingest.test_connections import HEAD, close, read_answer, request

pytestmark = pytest.mark.anyio
AT_ONCE = 32  # bodies of full length that this process may hold
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OpenAll = Callable[[int, bytes], Awaitable[list[Connection]]]


@pytest.fixture(scope="module")
def small(migrated: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A process that may hold little."""
    settings = dataclasses.replace(migrated, in_flight_bytes=AT_ONCE * MAX_EVENT_BYTES)
    with start(settings, tmp_path_factory.mktemp("small")) as service:
        service.wait_until("/readyz", 200)
        yield service


@pytest.fixture
async def open_all(small: Service) -> AsyncIterator[OpenAll]:
    """Opens connections and writes the same to each; whatever becomes of them, they are closed."""
    opened: list[Connection] = []

    async def open_all(count: int, data: bytes) -> list[Connection]:
        for _ in range(count):
            opened.append(await asyncio.open_connection(*small.address))
            opened[-1][1].write(data)
        return opened[-count:]

    yield open_all
    for _, writer in opened:
        with contextlib.suppress(OSError):
            await close(writer)


async def test_beyond_the_bound_a_body_is_refused_before_it_is_read(open_all: OpenAll) -> None:
    whole = b'{"event":"play","user_id":"u"'.ljust(MAX_EVENT_BYTES - 1) + b"}"
    head = HEAD + b"Content-Length: %d\r\n\r\n" % MAX_EVENT_BYTES
    holding = await open_all(AT_ONCE, head + whole[:-2])
    async with asyncio.timeout(BODY_WITHIN_S - 2):  # until all of it is read
        status = 200
        while status != 503:
            ((reader, _),) = await open_all(1, request("taken-meanwhile"))
            status = (await read_answer(reader))[0]
    for refused in (
        request("one-too-many"),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n",
        head,
    ):
        ((reader, _),) = await open_all(1, refused)
        status, headers, body = await read_answer(reader)
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert b'"code":"overloaded"' in body
    ((reader, writer),) = await open_all(
        1, HEAD + b"Expect: 100-continue\r\nContent-Length: 30\r\n\r\n"
    )
    status, headers, _ = await read_answer(reader)
    assert (status, headers[b"connection"]) == (503, b"close")
    assert await reader.read() == b""
    for number, (_, writer) in enumerate(holding):
        if number % 2:
            writer.write(whole[-2:])
        else:
            writer.transport.abort()
    for reader, _ in holding[1::2]:
        assert (await read_answer(reader))[0] == 200
    await asyncio.sleep(0.2)
    for reader, _ in await open_all(AT_ONCE - 4, head + whole):  # nothing was counted for ever
        assert (await read_answer(reader))[0] == 200


def ten_gigabytes() -> bytes:
    """Return ten megabytes of gzip; every piece of it unfolds to a thousand times its length."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * 640


async def test_a_bomb_over_http_is_cut(small: Service, open_all: OpenAll) -> None:
    before, bomb = memory_of(small), ten_gigabytes()
    assert len(bomb) > 10_000_000
    head = HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    ((reader, writer),) = await open_all(1, head)
    began = time.monotonic()
    for begin in range(0, len(bomb), 30_000):
        piece = bomb[begin : begin + 30_000]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    status, _, body = await read_answer(reader)
    assert status == 413
    assert b'"code":"too_large"' in body
    assert time.monotonic() - began < 15
    writer.write(request("after-the-bomb"))
    assert (await read_answer(reader))[0] == 200
    assert memory_of(small) - before < 16 << 20


async def test_clients_that_dribble_are_cut_and_nobody_else_waits(
    small: Service, open_all: OpenAll
) -> None:
    heads = await open_all(150, b"POST /track HTTP/1.1\r\nHost: x\r\nX: ")
    began, slowest = time.monotonic(), 0.0
    bodies = await open_all(AT_ONCE // 2, HEAD + b"Content-Length: 1000\r\n\r\n{")
    ((reader, writer),) = await open_all(1, b"")
    while time.monotonic() - began < min(HEAD_WITHIN_S, BODY_WITHIN_S) - 4:
        for _, dribbling in (*heads, *bodies):
            dribbling.write(b"1")
        sent = time.monotonic()
        writer.write(request("beside"))
        assert (await read_answer(reader))[0] == 200
        slowest = max(slowest, time.monotonic() - sent)
        await asyncio.sleep(0.5)
    assert slowest < 3
    for reader, _ in bodies:
        status, headers, body = await read_answer(reader)
        assert (status, headers[b"connection"]) == (408, b"close")
        assert b'"body_too_slow"' in body
        assert await asyncio.wait_for(reader.read(), 5) == b""
    for reader, _ in heads:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert BODY_WITHIN_S - 1 < time.monotonic() - began < BODY_WITHIN_S + 20
    assert "Traceback" not in small.log.read_text()


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ",
        b"Content-Length: +5\r\n\r\n{}   ",
        b"Content-Length: 5, 5\r\n\r\n{}   ",
        b"Content-Length: 0x5\r\n\r\n{}   ",
        b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n",
        b"X: a\nContent-Length: 2\r\n\r\n{}",
        b"X: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        b"X\x00: a\r\nContent-Length: 2\r\n\r\n{}",
        b": a\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_a_request_that_two_could_read_in_two_ways_ends_its_connection(
    open_all: OpenAll, smuggled: bytes
) -> None:
    ((reader, _),) = await open_all(1, HEAD + smuggled + request("smuggled"))
    status, _, _ = await read_answer(reader)
    assert status == 400
    assert await asyncio.wait_for(reader.read(), 5) == b""
