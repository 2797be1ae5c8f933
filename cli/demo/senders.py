"""How the demo's events are sent: POST /track over many connections, and a plain Kafka producer.

In: sendings in order of arrival. Out: every one of them sent, each user's in order, and a count of
those of which nobody knows whether they arrived. Never: two sendings of one user under way at once.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cli.demo.day import Sending, Way
from cli.demo.weeks import Spoiled
from cli.http_connection import Answer, HTTPConnection
from runtime.kafka.servers import KafkaServers

CONNECTIONS = 64
_TRIES, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 12, 0.1, 5.0
_UNDER_WAY = 2_000  # records given to the Kafka producer and not yet acknowledged
_ID = b'"event_id":'
_SOURCE = [("source", b"desktop-app")]

OnSent = Callable[[int], None]


class SendingError(Exception):
    """An event could not be sent; the message says what was answered."""


async def send_day(
    sendings: Sequence[Sending],
    *,
    base_url: str,
    servers: KafkaServers,
    certificate: str,
    topic: str,
    partitions: int,
    on_sent: OnSent,
) -> int:
    """Send every user's events by the user's way, both ways at once.

    Returns and raises what `send_by_http` does.
    """
    by_way: dict[Way, list[Sending]] = {way: [] for way in Way}
    for sending in sendings:
        by_way[sending.user.way].append(sending)
    try:
        async with asyncio.TaskGroup() as tasks:
            http = tasks.create_task(send_by_http(base_url, by_way[Way.HTTP], on_sent, certificate))
            tasks.create_task(send_by_kafka(servers, topic, partitions, by_way[Way.KAFKA], on_sent))
    except* SendingError as errors:
        raise errors.exceptions[0] from None
    return http.result()


async def send_by_http(
    base_url: str, sendings: Sequence[Sending], on_sent: OnSent, certificate: str = ""
) -> int:
    """Send over 64 connections, a user always over the same one.

    Returns:
        How many events without an id got no clear answer: whether they arrived is not known, and
        sending them again could double them.

    Raises:
        SendingError: an event was refused, or not taken in a minute.
    """
    lanes: list[list[Sending]] = [[] for _ in range(CONNECTIONS)]
    lane_of: dict[str, list[Sending]] = {}
    for sending in sendings:
        user_id = sending.user.user_id
        lane_of.setdefault(user_id, lanes[len(lane_of) % CONNECTIONS]).append(sending)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_send_lane(base_url, certificate, lane, on_sent))
                for lane in lanes
            ]
    except* SendingError as errors:
        raise errors.exceptions[0] from None
    return sum(task.result() for task in running)


async def send_by_kafka(
    servers: KafkaServers, topic: str, partitions: int, sendings: Sequence[Sending], on_sent: OnSent
) -> None:
    """Send keyed by the user id, to the partition that librdkafka's default partitioner chooses.

    Raises:
        SendingError: Kafka took an event no more.
    """
    producer = AIOKafkaProducer(
        **servers.client_arguments(),
        enable_idempotence=True,
        linger_ms=5,
        request_timeout_ms=20_000,
    )
    under_way: deque[asyncio.Future[object]] = deque()
    try:
        await producer.start()
        for sending in sendings:
            key = sending.user.user_id.encode()
            under_way.append(
                await producer.send(
                    topic,
                    sending.body,
                    key=key,
                    partition=librdkafka_partition(key, partitions),
                    headers=_SOURCE,
                )
            )
            if len(under_way) >= _UNDER_WAY:
                await under_way.popleft()
                on_sent(1)
        for future in under_way:
            await future
            on_sent(1)
    except KafkaError as error:
        raise SendingError(f"Kafka at {servers} did not take an event: {error}") from error
    finally:
        await producer.stop()


async def send_spoiled(servers: KafkaServers, topic: str, spoiled: Sequence[Spoiled]) -> None:
    """Send records that are no events, without a key, each with its sender's name.

    Raises:
        SendingError: Kafka took one no more.
    """
    producer = AIOKafkaProducer(**servers.client_arguments(), enable_idempotence=True)
    try:
        await producer.start()
        for each in spoiled:
            source = [("source", each.source.encode())]
            await producer.send_and_wait(topic, each.value, partition=0, headers=source)
    except KafkaError as error:
        raise SendingError(f"Kafka at {servers} did not take a record: {error}") from error
    finally:
        await producer.stop()


def librdkafka_partition(key: bytes, partitions: int) -> int:
    """Return where `consistent_random`, librdkafka's default, puts a key: by its CRC-32."""
    return zlib.crc32(key) % partitions


async def _send_lane(
    base_url: str, certificate: str, lane: Sequence[Sending], on_sent: OnSent
) -> int:
    uncertain = 0
    async with HTTPConnection(base_url, certificate=certificate) as connection:
        for sending in lane:
            uncertain += not await _send(connection, sending.body)
            on_sent(1)
    return uncertain


async def _send(connection: HTTPConnection, body: bytes) -> bool:
    """Send one event, again and again where its id makes that harmless; tell whether it arrived."""
    pause_s, problem = _FIRST_PAUSE_S, ""
    for _ in range(_TRIES):
        try:
            answer = await connection.request("POST", "/track", body)
        except OSError as error:
            problem = f"{str(error) or type(error).__name__}"
        else:
            if answer.status == 200:
                return True
            problem = _what_it_said(answer)
            if answer.status not in (429, 503):
                raise SendingError(f"POST /track answered {problem} to {body.decode()}")
        if _ID not in body:
            return False
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    raise SendingError(f"POST /track took no event in {_TRIES} tries; the last one: {problem}")


def _what_it_said(answer: Answer) -> str:
    return f"{answer.status} {answer.body.decode(errors='replace')}"
