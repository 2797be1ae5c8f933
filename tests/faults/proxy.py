"""A TCP proxy between a service and a server, which a test can make as bad as a network is.

In: a port to forward to. Out: a port to connect to. Never: a byte changed; a byte lost from the
middle of a connection: what gets lost takes its connection with it, as with TCP.

All proxies run in one thread with an event loop; their methods may be called from any other.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum

_CHUNK = 1 << 16
_CONNECT_WITHIN_S = 3.0


class Request(IntEnum):
    """Requests of Kafka's protocol, by their number in it."""

    PRODUCE = 0
    FETCH = 1
    OFFSET_COMMIT = 8
    INIT_PRODUCER_ID = 22
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Insert:
    """An insert of the writer's, as a request to ClickHouse: it names a deduplication token."""

    MARK = b"insert_deduplication_token"


Lost = Request | type[Insert]


class Proxy:
    """The way to one server: good until told otherwise.

    Attributes:
        port: where it listens.
        lost: how many answers it has swallowed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.port = 0
        self.lost = 0
        self._loop = loop
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._is_cut = False
        self._delay_s = 0.0
        self._bytes_per_s = 0.0
        self._losing: Lost | None = None
        self._to_lose = 0

    def delay(self, seconds: float) -> None:
        """Let everything, both ways, take so much longer."""
        self._do(lambda: setattr(self, "_delay_s", seconds))

    def throttle(self, bytes_per_s: float) -> None:
        """Let no connection carry more than so much a second, either way; 0 is all it can."""
        self._do(lambda: setattr(self, "_bytes_per_s", bytes_per_s))

    def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        self._do(self._cut)

    def drop_connections(self) -> None:
        """Break all connections; new ones are taken."""
        self._do(self._break_all)

    def black_hole(self) -> None:
        """Let nothing pass, either way; connections stay, and new ones seem to be had.

        What is on its way arrives when it is healed, as TCP would send it again.
        """
        self._do(self._open.clear)

    def lose_answers(self, to: Lost, count: int = 1) -> None:
        """Let the next requests of a kind through; swallow each one's answer, and its connection.

        The server has done what it was asked, and nobody is told.
        """
        self._do(lambda: self._lose(to, count))

    def heal(self) -> None:
        """Be good again."""
        self._do(self._heal)

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Break everything off."""
        if self._server is not None:
            self._server.close()
        self._break_all()

    def takes_answer(self, to: Lost) -> bool:
        """Tell whether the answer to a request is to be swallowed; each is asked about once."""
        if self._losing is not to or self._to_lose == 0:
            return False
        self._to_lose -= 1
        return True

    async def pass_on(self, size: int) -> None:
        """Wait as long as so many bytes take at present."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        if self._bytes_per_s:
            await asyncio.sleep(size / self._bytes_per_s)
        await self._open.wait()

    def _do(self, change: Callable[[], object]) -> None:
        """Change something in the thread of the loop, and wait until it is done."""
        done = threading.Event()

        def run() -> None:
            change()
            done.set()

        self._loop.call_soon_threadsafe(run)
        if not done.wait(10):
            raise TimeoutError("the proxies' thread does not answer")

    def _cut(self) -> None:
        self._is_cut = True
        self._break_all()

    def _lose(self, to: Lost, count: int) -> None:
        self._losing, self._to_lose = to, count

    def _heal(self) -> None:
        self._is_cut, self._delay_s, self._bytes_per_s, self._to_lose = False, 0.0, 0.0, 0
        self._open.set()

    def _break_all(self) -> None:
        for link in list(self._links):
            link.break_off()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        link = _Link(self, writer)
        self._links.add(link)
        try:
            await link.run(reader, self._target)
        finally:
            self._links.discard(link)
            link.break_off()


class _Link:
    """One connection through a proxy."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = [near]
        self._broken = asyncio.Event()

    def break_off(self) -> None:
        self._broken.set()
        for writer in self._writers:
            writer.transport.abort()

    async def run(self, near: asyncio.StreamReader, target: int) -> None:
        """Forward both ways until either side ends, or it is broken off."""
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                far, to_far = await asyncio.open_connection("127.0.0.1", target, limit=_CHUNK)
        except (OSError, TimeoutError):
            return
        to_near = self._writers[0]
        self._writers.append(to_far)
        talk = _Talk(self._proxy)
        ways = [
            asyncio.create_task(self._forward(near, to_far, talk.ask)),
            asyncio.create_task(self._forward(far, to_near, talk.answer)),
            asyncio.create_task(self._broken.wait()),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        note: Callable[[bytes], bool],
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not note(data):
                    return
                await self._proxy.pass_on(len(data))
                writer.write(data)
                await writer.drain()


class _Talk:
    """What is said over one connection: finds the requests whose answer is to be swallowed.

    Kafka's messages each begin with their length; requests go on with their kind and number,
    answers with the number. What begins like HTTP has one request under way at a time.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._is_http: bool | None = None
        self._asked, self._answered = _Frames(8), _Frames(4)
        self._unanswered: set[int] = set()
        self._is_doomed = False

    def ask(self, data: bytes) -> bool:
        """Look at a piece of what the client says; it always passes."""
        if self._is_http is None:
            self._is_http = data[:1].isalpha()
        if self._is_http:
            if Insert.MARK in data and self._proxy.takes_answer(Insert):
                self._is_doomed = True
            return True
        for head in self._asked.heads(data):
            kind, _, number = struct.unpack(">hhi", head)
            if kind in Request._value2member_map_ and self._proxy.takes_answer(Request(kind)):
                self._unanswered.add(number)
        return True

    def answer(self, data: bytes) -> bool:
        """Look at a piece of what the server says; tell whether it passes."""
        if self._is_http:
            doomed = self._is_doomed
        else:
            numbers = {struct.unpack(">i", head)[0] for head in self._answered.heads(data)}
            doomed = not self._unanswered.isdisjoint(numbers)
        if doomed:
            self._proxy.lost += 1
        return not doomed


class _Frames:
    """Gives the first bytes of each message in a stream of messages that begin with a length."""

    def __init__(self, head_bytes: int) -> None:
        self._head_bytes = head_bytes  # no message is shorter
        self._begun = bytearray()  # length and head of a message, as far as they have come
        self._to_skip = 0

    def heads(self, data: bytes) -> Iterator[bytes]:
        at, whole = 0, 4 + self._head_bytes
        while at < len(data):
            skipped = min(self._to_skip, len(data) - at)
            self._to_skip -= skipped
            at += skipped
            taken = data[at : at + whole - len(self._begun)]
            self._begun += taken
            at += len(taken)
            if len(self._begun) == whole:
                yield bytes(self._begun[4:])
                self._to_skip = struct.unpack(">i", self._begun[:4])[0] - self._head_bytes
                self._begun.clear()


@contextmanager
def open_proxies() -> Iterator[Callable[[int], Proxy]]:
    """Give what makes a proxy in front of a port; all end with the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    thread.start()
    proxies: list[Proxy] = []

    def open_proxy(target: int) -> Proxy:
        proxy = Proxy(loop, target)
        asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(10)
        proxies.append(proxy)
        return proxy

    async def end() -> None:
        for proxy in proxies:
            await proxy.stop()
        await asyncio.sleep(0.05)  # the links' tasks see their end

    try:
        yield open_proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
