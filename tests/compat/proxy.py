"""An HTTP proxy between a client and the service, which answers some batches as the service might.

In: the port of the service, and for a batch what becomes of its requests. Out: a port to send to,
and what each request was and what became of it. Never: a change of what is passed on; an answer of
another shape than the service's own.

A batch is known by its first event: a client that repeats it sends the same one first again.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from contracts.events import Reason
from ingest.answers import UNAVAILABLE, Answer, error, refused
from runtime.access.guards import refusals_of
from runtime.access.keys import Scope

_REASONS = {400: "Bad Request", 401: "Unauthorized", 413: "Content Too Large",
            429: "Too Many Requests", 503: "Service Unavailable"}  # fmt: skip
_REFUSALS = {each.code: refused(each) for each in refusals_of(Scope.WRITE)}
_IDS = ("messageId", "uuid", "event_id", "id")
_CLOUDEVENT_ID = "ce-id"
_MOST_HEAD_BYTES = 1 << 20


class Fault(Enum):
    """What becomes of a request; those of a number are answered so, and not passed on."""

    NONE = "passed on and answered"
    INVALID = 400
    UNKNOWN_KEY = 401
    TOO_LARGE = 413
    TOO_MANY = 429
    AWAY = 503
    LATE = "passed on and answered too late"
    LOST = "passed on, and the connection cut"


_ANSWERS: Mapping[Fault, Answer] = {
    Fault.INVALID: error(Reason.INVALID_JSON, "The body is not valid JSON"),
    Fault.UNKNOWN_KEY: _REFUSALS["unknown_key"],
    Fault.TOO_LARGE: error(Reason.TOO_LARGE, "The body has more than 10485760 bytes"),
    Fault.TOO_MANY: _REFUSALS["too_many_requests"],
    Fault.AWAY: UNAVAILABLE,
}
# By the number of a batch, counted from 0 as they first come, or by the id of its first event.
Plan: TypeAlias = Mapping[int | str, Sequence[Fault]]


@dataclass(slots=True)
class Exchange:
    """A request, and what became of it.

    Attributes:
        batch: the number of the batch; -1 for what brings no events.
        at: when it came, in seconds of a clock that only runs on.
        status: what the client was answered with; 0 if with nothing.
        taken: whether the service has taken it.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    ids: tuple[str, ...]
    batch: int
    fault: Fault
    at: float
    status: int = 0
    taken: bool = False


@dataclass(slots=True)
class Proxy:
    """A running proxy.

    Attributes:
        service: the port of the service.
        plan: for each batch what becomes of its requests; later requests are passed on.
        late_s: how much too late an answer comes.
        begin_s: how long the first batch waits, in which a client can queue the others.
        exchanges: what there was, in order.
    """

    service: int
    plan: Plan
    late_s: float
    begin_s: float
    port: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    _batches: dict[str, int] = field(default_factory=dict)
    _asked: Counter[int] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def of_batch(self, number: int) -> list[Exchange]:
        """Return what there was with one batch."""
        return [each for each in self.exchanges if each.batch == number]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while request := await _read_request(reader):
                if not await self._answer(*request, writer):
                    break
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Do with a request what is planned; return whether the connection goes on."""
        exchange = self._note(head, body)
        if exchange.batch == 0 and self._asked[0] == 1:
            await asyncio.sleep(self.begin_s)
        if isinstance(exchange.fault.value, int):
            exchange.status = exchange.fault.value
            writer.write(_as_bytes(_ANSWERS[exchange.fault]))
            await writer.drain()
            return True
        answer = await _ask(self.service, head, body)
        status = int(answer[9:12])
        exchange.taken = status == 200
        if exchange.fault is Fault.LOST:
            raise ConnectionAbortedError("as planned")
        if exchange.fault is Fault.LATE:
            await asyncio.sleep(self.late_s)
        else:
            exchange.status = status
        writer.write(answer)
        await writer.drain()
        return False  # the service was told that this is the only request

    def _note(self, head: bytes, body: bytes) -> Exchange:
        method, path, headers = _parsed(head)
        ids = _ids_in(body) if method == "POST" else ()
        if _CLOUDEVENT_ID in headers:
            ids = (headers[_CLOUDEVENT_ID],)
        batch, fault = -1, Fault.NONE
        if ids:
            batch = self._batches.setdefault(ids[0], len(self._batches))
            planned = self.plan.get(ids[0]) or self.plan.get(batch, ())
            asked = self._asked[batch]
            fault = planned[asked] if asked < len(planned) else Fault.NONE
            self._asked[batch] += 1
        exchange = Exchange(method, path, headers, ids, batch, fault, time.monotonic())
        self.exchanges.append(exchange)
        return exchange


@contextmanager
def faulty_proxy(
    service: int, plan: Plan = MappingProxyType({}), *, late_s: float = 0.0, begin_s: float = 0.0
) -> Iterator[Proxy]:
    """Run a proxy, in a thread of its own, as long as the block does."""
    proxy = Proxy(service, plan, late_s, begin_s)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="clients' proxy", daemon=True)
    thread.start()

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=_MOST_HEAD_BYTES)

    async def end() -> None:
        server.close()
        links = asyncio.all_tasks() - {asyncio.current_task()}
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        await asyncio.sleep(0.05)  # the connections see their end

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """Return head and body of the next request, the body in one piece; None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    _, _, headers = _parsed(head)
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return head, await reader.readexactly(int(headers.get("content-length", 0)))
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    body = b"".join(pieces)
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"transfer-")]
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body))) + b"\r\n\r\n", body


async def _ask(port: int, head: bytes, body: bytes) -> bytes:
    """Pass a request on; return the whole answer."""
    lines = [
        line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection")
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\r\n".join((*lines, b"Connection: close")) + b"\r\n\r\n" + body)
        return await reader.read()
    finally:
        writer.transport.abort()


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    named = (line.partition(":") for line in lines)
    return method, path, {name.lower(): value.strip() for name, _, value in named}


def _ids_in(body: bytes) -> tuple[str, ...]:
    """Return the ids of the events in a body of any client; none where it brings no events."""
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    if body.startswith(b"data="):
        body = b64decode(parse_qs(body.decode())["data"][0])
    try:
        said = json.loads(body)
    except ValueError:
        return ()
    items = said.get("batch", [said]) if isinstance(said, dict) else said
    return tuple(each for item in items if (each := _id_of(item)))


def _id_of(item: Any) -> str | None:
    found = (item.get(name) for name in _IDS) if isinstance(item, dict) else iter(())
    return next((each for each in found if isinstance(each, str)), None)


def _as_bytes(answer: Answer) -> bytes:
    start, end = answer
    status: int = start["status"]
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}".encode()]
    lines += [b"%b: %b" % each for each in start["headers"]]
    body: bytes = end["body"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
