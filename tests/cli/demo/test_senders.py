from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import Message, Producer

from cli.demo.day import Day, Way, make_day
from cli.demo.senders import SendingError, librdkafka_partition, send_by_http, send_by_kafka
from cli.log_reader import LogReader
from deploy.local.machine import free_port
from runtime.kafka.servers import KafkaServers
from tests.cli.http_service import http_service
from tests.conftest import Servers

pytestmark = pytest.mark.anyio

PARTITIONS = 4
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 400 Bad\r\nContent-Length: 4\r\n\r\nwhat"


class Ingest:
    """Takes events as ingest does, and remembers each user's; the first answers can be others."""

    def __init__(self, *first_answers: bytes) -> None:
        self.taken: dict[str, list[bytes]] = defaultdict(list)
        self._answers = list(first_answers)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async with http_service(self._reply) as (url, _):
            yield url

    def _reply(self, _: bytes, body: bytes) -> bytes:
        answer = self._answers.pop(0) if self._answers else OK
        if answer == OK:
            self.taken[json.loads(body)["user_id"]].append(body)
        return answer


@pytest.fixture
def day() -> Day:
    return make_day(seed=3, users=50, events=600, ends_at=1_763_990_000_000, word="demo")


def bodies_by_user(day: Day, way: Way | None = None) -> dict[str, list[bytes]]:
    bodies: dict[str, list[bytes]] = defaultdict(list)
    for sending in day.sendings:
        if way is None or sending.user.way is way:
            bodies[sending.user.user_id].append(sending.body)
    return bodies


async def test_every_event_is_sent_and_each_users_in_order(day: Day) -> None:
    ingest = Ingest()
    counted: list[int] = []
    async with ingest.serve() as url:
        assert await send_by_http(url, day.sendings, counted.append) == 0
    assert ingest.taken == bodies_by_user(day)
    assert sum(counted) == len(day.sendings)


async def test_a_busy_service_is_asked_again_where_an_id_makes_it_harmless(day: Day) -> None:
    first = [sending for sending in day.sendings if b'"event_id"' in sending.body][:1]
    ingest = Ingest(BUSY, BUSY)
    async with ingest.serve() as url:
        assert await send_by_http(url, first, lambda _: None) == 0
    assert ingest.taken == {first[0].user.user_id: [first[0].body]}


async def test_without_an_id_an_unclear_outcome_is_counted_and_not_repeated(day: Day) -> None:
    first = [sending for sending in day.sendings if b'"event_id"' not in sending.body][:1]
    ingest = Ingest(BUSY)
    async with ingest.serve() as url:
        assert await send_by_http(url, first, lambda _: None) == 1
    assert ingest.taken == {}


async def test_a_refusal_ends_the_sending_with_what_was_said(day: Day) -> None:
    async with Ingest(REFUSED).serve() as url:
        with pytest.raises(SendingError, match="answered 400 what to"):
            await send_by_http(url, day.sendings, lambda _: None)


async def test_a_service_that_is_away_is_given_up(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.demo.senders._FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("cli.demo.senders._LONGEST_PAUSE_S", 0.001)
    with pytest.raises(SendingError, match="took no event in 12 tries"):
        await send_by_http(f"http://127.0.0.1:{free_port()}", day.sendings, lambda _: None)


async def test_kafka_gets_every_event_in_order_where_librdkafka_would_put_it(
    servers: Servers, day: Day
) -> None:
    kafka = KafkaServers(servers.kafka)
    async with (
        _topic(servers) as topic,
        LogReader(kafka, topic, PARTITIONS) as log,
    ):
        await send_by_kafka(kafka, topic, PARTITIONS, day.sendings, lambda _: None)
        read: dict[str, list[bytes]] = defaultdict(list)
        places: dict[bytes, set[int]] = defaultdict(set)

        def take(partition: int, record: Any) -> None:
            read[record.key.decode()].append(record.value)
            places[record.key].add(partition)

        assert await log.read_to_end(take) == len(day.sendings)
        assert await log.read_to_end(take) == 0
    assert read == bodies_by_user(day)
    assert all(places[key] == {librdkafka_partition(key, PARTITIONS)} for key in places)


async def test_librdkafka_itself_agrees(servers: Servers, day: Day) -> None:
    placed: dict[bytes, int] = {}

    def note(error: object, message: Message) -> None:
        assert error is None
        placed[message.key() or b""] = message.partition() or 0

    async with _topic(servers) as topic:
        producer = Producer({"bootstrap.servers": servers.kafka})
        for user in day.users:
            producer.produce(topic, b"{}", key=user.user_id.encode(), on_delivery=note)
        assert await asyncio.to_thread(producer.flush, 30) == 0
    assert placed == {
        key: librdkafka_partition(key, PARTITIONS)
        for key in (user.user_id.encode() for user in day.users)
    }


@asynccontextmanager
async def _topic(servers: Servers) -> AsyncIterator[str]:
    topic = f"t_{secrets.token_hex(5)}.events"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        yield topic
    finally:
        await admin.delete_topics([topic])
        await admin.close()
