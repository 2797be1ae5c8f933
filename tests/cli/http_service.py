"""A service of the test's own, which answers requests one after the other.

In: a function from a request, head and body, to the bytes that come back. Out: its address and the
connections that it saw. Never: a connection left open at its end.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Reply = Callable[[bytes, bytes], bytes]


@asynccontextmanager
async def http_service(
    reply: Reply, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[asyncio.Task[None]]]]:
    """Serve; give the base URL and a list that gets an element a connection.

    An empty reply ends the connection.
    """
    connections: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.append(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                answer = reply(head, await reader.readexactly(length))
                writer.write(answer)
                if not answer or answer.endswith(b"!") or b"close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        async with server:
            scheme = "https" if tls else "http"
            yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
    finally:
        await asyncio.wait_for(asyncio.gather(*connections), 10)
