"""Events as fast as they may be sent, over HTTP or by a Kafka producer: the load of the pipeline.

    python -m tests.benchmarks.pipeline_sender http URL
    python -m tests.benchmarks.pipeline_sender kafka SERVERS TOPIC PARTITIONS

In: on standard input, a line for each new total of events that may have been sent by now; its end
is the end of the load. Out: a line of JSON about what was sent and acknowledged. Bodies and records
are made before the first line is read. Never: an event more than was allowed, another machine.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from itertools import cycle

import msgspec
import uvloop
from aiokafka import AIOKafkaProducer

from cli.http_connection import HTTPConnection
from contracts.topics import Partitioner
from tests.benchmarks.made_events import make_event

_USERS = 10_000
_KINDS = ("play", "pause", "product_view", "stop")
_IN_BATCH = 100
_CONNECTIONS = 16
_IN_RECORD_BATCH = 1_000
_ACCEPTED = b'{"status":"success","accepted":%d,"rejected":[]}' % _IN_BATCH


class Sent(msgspec.Struct, frozen=True):
    """What was sent and acknowledged, and at what cost."""

    events: int
    cpu_s: float


class Allowance:
    """How many events may have been sent by now, as standard input says."""

    def __init__(self) -> None:
        self.taken = 0
        self._most = 0
        self._is_over = False
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        """Read totals until the end of standard input."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async for line in reader:
            await self._change(int(line), is_over=False)
        await self._change(self._most, is_over=True)

    async def take(self, count: int) -> bool:
        """Wait until so many more may be sent; False if the load is over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_over or self.taken + count <= self._most)
            if self._is_over:
                return False
            self.taken += count
            return True

    async def _change(self, most: int, *, is_over: bool) -> None:
        async with self._changed:
            self._most, self._is_over = most, is_over
            self._changed.notify_all()


async def send_over_http(allowance: Allowance, url: str) -> None:
    """Send batches over some connections, one after the other on each."""
    made = _make(1)[0]
    bodies = cycle(
        b"[%b]" % b",".join(body for _, body in made[start : start + _IN_BATCH])
        for start in range(0, len(made), _IN_BATCH)
    )

    async def send() -> None:
        async with HTTPConnection(url) as connection:
            while await allowance.take(_IN_BATCH):
                answer = await connection.request("POST", "/track/batch", next(bodies))
                if answer.body != _ACCEPTED:
                    raise SystemExit(f"a batch was answered with {answer}")

    await asyncio.gather(*(send() for _ in range(_CONNECTIONS)))


async def produce(allowance: Allowance, servers: str, topic: str, partitions: int) -> None:
    """Produce to all partitions, a batch under way to each."""
    made = _make(partitions)
    async with AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, max_batch_size=900_000
    ) as producer:

        async def send(partition: int, records: Sequence[tuple[bytes, bytes]]) -> None:
            endless = cycle(records)
            while await allowance.take(_IN_RECORD_BATCH):
                builder = producer.create_batch()
                for _ in range(_IN_RECORD_BATCH):
                    key, value = next(endless)
                    builder.append(timestamp=None, key=key, value=value)
                await (await producer.send_batch(builder, topic, partition=partition))

        await asyncio.gather(*(send(*each) for each in enumerate(made)))


def _make(partitions: int) -> list[list[tuple[bytes, bytes]]]:
    """Return events as (key, body) by partition: of each user a play, and later its stop.

    They are sent again and again; what is open is closed each time, however often.
    """
    chance, partitioner = random.Random(3), Partitioner(partitions)
    users = [f"user-{chance.randrange(10**9)}" for _ in range(_USERS)]
    begin_ms = (int(time.time()) - 86_400) * 1000
    made: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
    for minute, kind in enumerate(_KINDS):
        chance.shuffle(users)
        for user in users:
            at_ms = begin_ms + minute * 60_000 + chance.randrange(60_000)
            body = make_event(user, kind, at_ms, chance, with_id=False)
            made[partitioner.partition_of(user)].append((user.encode(), body))
    return made


async def _run(arguments: Sequence[str]) -> Sent:
    allowance = Allowance()
    following = asyncio.create_task(allowance.follow())
    if arguments[0] == "http":
        await send_over_http(allowance, arguments[1])
    else:
        await produce(allowance, arguments[1], arguments[2], int(arguments[3]))
    await following
    return Sent(allowance.taken, time.process_time())


def main() -> None:
    """Send, then print what was sent."""
    sent = uvloop.run(_run(sys.argv[1:]))
    print(msgspec.json.encode(sent).decode(), flush=True)


if __name__ == "__main__":
    main()
