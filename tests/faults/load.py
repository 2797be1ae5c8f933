"""The load: many users' events, over HTTP and by Kafka producers, each written into the ledger.

In: a seed, how many senders of each kind, how many events a second. Out: events in the log, and the
ledger of what is known of each. Never: two ids for one event, an outcome that was not seen.

On purpose there are: repeated ids, events that are none, plays without stops, stops without plays,
several plays at once, timestamps days old, absent, and in the future; producers whose partitioner
disagrees with ours. Every event has an id, so that it can be found again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cli.demo.senders import librdkafka_partition
from cli.http_connection import HTTPConnection
from contracts.timestamps import format_timestamp
from contracts.topics import Topics
from runtime.settings import Settings
from tests.faults.ledger import Lane, Ledger, Outcome

_DAY_MS = 86_400_000
_PAUSE_S = 0.2
_HTTP_TIMEOUT_S = 10.0
_FLUSH_WITHIN_S = 20.0
_UNDER_WAY = 2_000

_NAMES = ("play",) * 5 + ("stop",) * 4 + ("pause", "like", "search")
_REPEATED, _WRONG, _RETRIED = 0.03, 0.01, 0.8


@dataclass(frozen=True, slots=True)
class Volume:
    """How much is sent.

    Attributes:
        per_s: events a second of all senders together; 0 is as fast as they can.
        http: senders over HTTP, each with one request under way at a time.
        kafka: Kafka producers.
        users: how many users there are.
        names: the events' names, each as likely as it is often there.
        days: how many days old the timestamps are at the most.
        padding: bytes of metadata in each event.
    """

    per_s: float = 400.0
    http: int = 8
    kafka: int = 2
    users: int = 200
    names: tuple[str, ...] = _NAMES
    days: int = 3
    padding: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """An event of the load; one that is wrong must be refused."""

    lane: Lane
    number: int
    user_id: str
    body: bytes
    is_wrong: bool = False


class Maker:
    """Makes the events of one lane, from a seed."""

    def __init__(self, ledger: Ledger, seed: str, volume: Volume) -> None:
        self.lane = ledger.open_lane()
        self._ledger = ledger
        self._random = random.Random(seed)
        self._users = volume.users
        self._names = volume.names
        self._behind_ms = volume.days * _DAY_MS
        self._padding = "x" * volume.padding
        self._clocks: dict[int, int] = {}
        self._last: Made | None = None

    def next(self, now_ms: int) -> Made:
        """Return the next event; now and then it is one that was made before."""
        chance = self._random
        if self._last is not None and chance.random() < _REPEATED:
            return self._last
        user = chance.randrange(self._users)
        number = self.lane.begin(user)
        user_id, event_id = self._ledger.user_id(user), self.lane.event_id(number)
        is_wrong = chance.random() < _WRONG
        name = "" if is_wrong else chance.choice(self._names)
        timestamp = self._timestamp(user, now_ms)
        body = (
            f'{{"event":"{name}","user_id":"{user_id}","event_id":"{event_id}"{timestamp},'
            f'"metadata":{{"song":"s-{number % 50}","n":{number},"more":"{self._padding}"}}}}'
        )
        made = Made(self.lane, number, user_id, body.encode(), is_wrong)
        if is_wrong:
            self.lane.refuse(number)
        else:
            self._last = made
        return made

    def _timestamp(self, user: int, now_ms: int) -> str:
        """Return the field: by the user's own clock, which begins days ago; or none; or to come."""
        chance = self._random
        drawn = chance.random()
        if drawn < 0.05:
            return ""
        if drawn < 0.08:
            return f',"timestamp":"{format_timestamp(now_ms + chance.randrange(_DAY_MS))}"'
        if (clock := self._clocks.get(user, now_ms)) >= now_ms:
            clock = now_ms - chance.randrange(self._behind_ms)
        clock += chance.randrange(300_000)
        self._clocks[user] = clock
        return f',"timestamp":"{format_timestamp(clock)}"'


class Load:
    """A load that runs until it is stopped, in a thread of its own.

    Attributes:
        statuses: how often each status was answered over HTTP; 0 is no answer.
    """

    def __init__(
        self, settings: Settings, base_url: str, ledger: Ledger, seed: str, volume: Volume
    ) -> None:
        self._settings = settings
        self._base_url = base_url
        self._ledger = ledger
        self.statuses: Counter[int] = Counter()
        self._seed = seed
        self._volume = volume
        self._begun = time.monotonic()
        self._made = 0
        self._stopping = False
        self._threads = ThreadPoolExecutor(1, "load")
        self._running: Future[None] | None = None

    @property
    def made(self) -> int:
        """How many events have been made."""
        return self._made

    def start(self) -> None:
        """Send until `stop`, in a thread of its own."""
        self._running = self._threads.submit(lambda: asyncio.run(self._run()))

    def stop(self) -> None:
        """Make no more events."""
        self._stopping = True

    def wait(self, seconds: float) -> None:
        """Wait until the senders have ended.

        Raises:
            BaseException: what ended one of them.
        """
        if self._running is not None:
            self._running.result(seconds)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as senders:
            for number in range(self._volume.http):
                senders.create_task(self._send_by_http(self._maker(f"http-{number}")))
            for number in range(self._volume.kafka):
                own = number % 2 == 0
                senders.create_task(self._send_by_kafka(self._maker(f"kafka-{number}"), own=own))

    def _maker(self, name: str) -> Maker:
        return Maker(self._ledger, f"{self._seed}:{name}", self._volume)

    async def _next(self, maker: Maker) -> Made | None:
        """Wait for the next event's turn; None when there is to be no more."""
        while not self._stopping:
            ahead = self._made / self._volume.per_s if self._volume.per_s else 0.0
            wait = self._begun + ahead - time.monotonic()
            if wait <= 0:
                self._made += 1
                return maker.next(time.time_ns() // 1_000_000)
            await asyncio.sleep(min(wait, _PAUSE_S))
        return None

    # --- over HTTP --------------------------------------------------------------------------------

    async def _send_by_http(self, maker: Maker) -> None:
        chance = random.Random(f"{self._seed}:{maker.lane.number}:again")
        async with HTTPConnection(self._base_url, _HTTP_TIMEOUT_S) as connection:
            while (made := await self._next(maker)) is not None:
                while not await self._post(connection, made) and chance.random() < _RETRIED:
                    await asyncio.sleep(_PAUSE_S)
                    if self._stopping:
                        break

    async def _post(self, connection: HTTPConnection, made: Made) -> bool:
        """Send an event once; return whether its sender now knows what became of it."""
        made.lane.attempts += 1
        try:
            answer = await connection.request("POST", "/track", made.body)
        except OSError:  # a time-out is one as well
            self.statuses[0] += 1
            return False
        self.statuses[answer.status] += 1
        if answer.status == 200 and not made.is_wrong:
            made.lane.note(made.number, Outcome.ACKNOWLEDGED)
        elif answer.status == 400:
            made.lane.refuse(made.number)
        elif answer.status != 503:
            raise AssertionError(f"POST /track answered {answer.status} to {made.body!r}")
        return answer.status != 503

    # --- by Kafka ---------------------------------------------------------------------------------

    async def _send_by_kafka(self, maker: Maker, *, own: bool) -> None:
        """Send with Java's partitioner, or (`own` is false) with librdkafka's."""
        while (producer := await self._start_producer()) is not None:
            under_way: set[asyncio.Future[object]] = set()
            try:
                await self._send_through(producer, maker, under_way, own=own)
            except KafkaError:
                continue  # a producer that has failed once fails for ever
            finally:
                if under_way:
                    await asyncio.wait(under_way, timeout=_FLUSH_WITHIN_S)
                with suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(_FLUSH_WITHIN_S):
                        await producer.stop()

    async def _send_through(
        self,
        producer: AIOKafkaProducer,
        maker: Maker,
        under_way: set[asyncio.Future[object]],
        *,
        own: bool,
    ) -> None:
        topic = Topics.of(self._settings.namespace).events
        while (made := await self._next(maker)) is not None:
            key = made.user_id.encode()
            partition = None if own else librdkafka_partition(key, self._settings.partitions)
            made.lane.attempts += 1
            sent = await producer.send(topic, made.body, key=key, partition=partition)
            under_way.add(sent)
            sent.add_done_callback(under_way.discard)
            sent.add_done_callback(_noting(made))
            while len(under_way) >= _UNDER_WAY and not self._stopping:
                first = asyncio.FIRST_COMPLETED
                await asyncio.wait(under_way, timeout=_PAUSE_S, return_when=first)

    async def _start_producer(self) -> AIOKafkaProducer | None:
        """Return a producer that has reached Kafka; None if the load is to end before that."""
        while not self._stopping:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._settings.kafka, enable_idempotence=True, linger_ms=5
            )
            try:
                await producer.start()
            except KafkaError:
                await producer.stop()
                await asyncio.sleep(_PAUSE_S)
            else:
                return producer
        return None


def _noting(made: Made) -> Callable[[asyncio.Future[object]], None]:
    def note(sent: asyncio.Future[object]) -> None:
        if sent.cancelled() or sent.exception() is not None or made.is_wrong:
            return
        made.lane.note(made.number, Outcome.ACKNOWLEDGED)

    return note
