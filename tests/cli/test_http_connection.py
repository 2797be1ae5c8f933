from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from cli.http_connection import Answer, HTTPConnection
from tests.certificates import Authority
from tests.cli.http_service import http_service

pytestmark = pytest.mark.anyio


def ok(body: bytes = b"whole", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (extra, len(body), body)


async def test_one_connection_serves_many_requests() -> None:
    asked: list[bytes] = []

    def reply(head: bytes, body: bytes) -> bytes:
        asked.append(head + body)
        return ok()

    async with http_service(reply) as (url, seen), HTTPConnection(url) as connection:
        assert await connection.request("POST", "/track", b"{}") == Answer(200, b"whole")
        assert await connection.request("GET", "/metrics?a=b") == Answer(200, b"whole")
    assert len(seen) == 1
    assert asked[0].startswith(b"POST /track HTTP/1.1\r\nHost: 127.0.0.1:")
    assert asked[0].endswith(b"\r\n\r\n{}")


async def test_statuses_and_the_case_of_headers_do_not_matter() -> None:
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\ncOnTeNt-LeNgTh: 5\r\n\r\nwhole"
    async with http_service(lambda *_: answer) as (url, _), HTTPConnection(url) as connection:
        assert await connection.request("GET", "/") == Answer(503, b"whole")


async def test_a_service_that_closes_is_connected_to_again() -> None:
    closing = ok(extra=b"Connection: close\r\n")
    async with http_service(lambda *_: closing) as (url, seen), HTTPConnection(url) as connection:
        await connection.request("GET", "/")
        await connection.request("GET", "/")
    assert len(seen) == 2


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX: !",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhalf!",
    ],
)
async def test_an_answer_that_is_not_whole_is_a_connection_error(broken: bytes) -> None:
    async with http_service(lambda *_: broken) as (url, seen), HTTPConnection(url) as connection:
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await connection.request("GET", "/")
    assert len(seen) == 2


async def test_a_service_that_says_nothing_is_given_up() -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        asked.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, HTTPConnection(f"http://127.0.0.1:{port}", timeout_s=0.2) as connection:
        with pytest.raises(TimeoutError):
            await connection.request("GET", "/")
        await asyncio.wait_for(asked.wait(), 5)


async def test_over_https_one_certificate_is_trusted_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    own, other = Authority(tmp_path), Authority(tmp_path / "other")
    for authority in (own, other):
        authority.issue("events.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with http_service(lambda *_: reply, context) as (url, seen):
        async with HTTPConnection(url, certificate=str(own.certificate)) as connection:
            for _ in range(2):
                assert (await connection.request("GET", "/", b"")).status == 200
        async with HTTPConnection(url, certificate=str(other.certificate)) as connection:
            with pytest.raises(OSError, match="the connection was lost"):
                await connection.request("GET", "/", b"")
    assert len(seen) == 1


@pytest.mark.parametrize("url", ["https://127.0.0.1", "127.0.0.1:8000", "http://"])
async def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of the form"):
        HTTPConnection(url)


async def test_a_user_in_the_url_is_the_key_to_show() -> None:
    heads: list[bytes] = []

    def reply(head: bytes, _: bytes) -> bytes:
        heads.append(head)
        return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

    async with http_service(reply) as (url, _):
        for base_url in (url, url.replace("://", "://k%2Fey@")):
            async with HTTPConnection(base_url) as connection:
                await connection.request("GET", "/")
    host = url.removeprefix("http://").encode()
    assert all(b"\r\nHost: " + host + b"\r\n" in head for head in heads)
    assert [b"Authorization" in head for head in heads] == [False, True]
    assert b"\r\nAuthorization: Bearer k/ey\r\n" in heads[1]
