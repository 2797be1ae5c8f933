"""One keep-alive connection to an HTTP/1.1 service: requests one after the other, fast.

In: a base URL (a user's name in it is the key to show; with https, the file of the one certificate
that is trusted), then a method, a path and a body at a time. Out: a status and a body. Never: two
requests at once on one connection, redirects, an answer without a Content-Length.

It costs a third of what a general client costs, which matters where client and services share
the cores.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from runtime.http.tls import trusting

_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CLOSE = b"\r\nconnection: close"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class HTTPConnection:
    """A connection that opens itself when it is needed, and again when it was lost."""

    def __init__(self, base_url: str, timeout_s: float = 15.0, certificate: str = "") -> None:
        parts = urlsplit(base_url)
        if parts.scheme != ("https" if certificate else "http") or not parts.hostname:
            raise ValueError(
                f"{base_url} is no URL of the form http://host:port, "
                "or https://host:port with a certificate to trust"
            )
        self._host, self._port = parts.hostname, parts.port or (443 if certificate else 80)
        self._tls = trusting(Path(certificate)) if certificate else None
        host = parts.netloc.rpartition("@")[2]
        key = f"Authorization: Bearer {unquote(parts.username)}\r\n" if parts.username else ""
        self._lines = f" HTTP/1.1\r\nHost: {host}\r\n{key}".encode()
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request and return its answer.

        Raises:
            OSError: the connection could not be had, or was lost before the answer was whole; the
                service may have done what it was asked.
        """
        head = b"%b %b%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
            method.encode(), path.encode(), self._lines, len(body),
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(head + body)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise ConnectionError("the connection was lost before the answer was whole") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def __aenter__(self) -> Self:
        """Return the connection; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        streams = self._streams
        self.close()
        if streams is not None:
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    async def _exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(_END)).lower()
        _, _, rest = head.partition(_LENGTH)
        body = await reader.readexactly(int(rest[: rest.index(b"\r")]))
        if _CLOSE in head:
            self.close()
        return Answer(int(head[9:12]), body)
