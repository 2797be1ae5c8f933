"""A sender that repeats is counted once, also over a kill -9 of everything: Kafka, ClickHouse, all.

Every id is sent over several connections at once while all processes of a stack are killed in the
middle of it. The stack is started again, and every id is sent again, over HTTP and through Kafka.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from cli.addresses import Stack
from cli.verify import verify
from contracts.topics import Partitioner, Topics
from runtime.settings import Settings
from tests.processors.sessionizer.running import read_topic, wait_until_processed
from tests.running_stack import (
    processes_of,
    stack_environment,
    start_up,
    wait_for_stack,
)
from tests.stack.test_bad_input import until

IDS = 80
AT_ONCE = 3  # connections that send the same id at the same time
ANSWERED_BEFORE_THE_KILL = 60
MOST_ATTEMPTS = 100
Sent = tuple[str, str]  # the user, and the id


def sendings() -> list[Sent]:
    """Return users and ids; every id is used by two users, whose events are two."""
    return [(f"user-{number % 2}-{number % 10}", f"id-{number // 2}") for number in range(IDS)]


def request_of(sent: Sent, repetition: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return body and headers: the id in the one, in the other, or in both; the body's counts."""
    user, event_id = sent
    body = {"event": "buy", "user_id": user, "timestamp": "2025-01-18T14:00:00Z"}
    match repetition % 3:
        case 0:
            return {**body, "event_id": event_id}, {}
        case 1:
            return body, {"Idempotency-Key": f'"{event_id}"'}
        case _:
            return {**body, "event_id": event_id}, {"Idempotency-Key": "another"}


class Sender:
    """Sends, and remembers what was answered with 200; one that `repeats` does so until then."""

    def __init__(self, url: str, *, repeats: bool) -> None:
        self._url = url
        self._repeats = repeats
        self.acknowledged: set[Sent] = set()
        self.answered = 0
        self.enough = asyncio.Event()

    async def send_all(self) -> None:
        """Send every id over several connections at once."""
        limits, timeout = httpx.Limits(max_connections=40), httpx.Timeout(10, pool=None)
        async with httpx.AsyncClient(base_url=self._url, timeout=timeout, limits=limits) as client:
            await asyncio.gather(
                *(
                    self._send(client, sent, repetition)
                    for sent in sendings()
                    for repetition in range(AT_ONCE)
                )
            )

    async def _send(self, client: httpx.AsyncClient, sent: Sent, repetition: int) -> None:
        """Send it, and again until it is taken, as senders are told to do."""
        body, headers = request_of(sent, repetition)
        for _ in range(MOST_ATTEMPTS if self._repeats else 1):
            if await self._is_taken(client, body, headers, sent):
                return
            await asyncio.sleep(0.1)

    async def _is_taken(
        self, client: httpx.AsyncClient, body: dict[str, str], headers: dict[str, str], sent: Sent
    ) -> bool:
        try:
            response = await client.post("/track", json=body, headers=headers)
        except httpx.TransportError:
            return False
        if response.status_code != 200:
            return False
        assert response.headers["x-event-id"] == sent[1]
        self.acknowledged.add(sent)
        self.answered += 1
        if self.answered == ANSWERED_BEFORE_THE_KILL:
            self.enough.set()
        return True


async def send_until_killed(url: str, home: Path) -> set[Sent]:
    """Send, and kill everything in the middle of it; return what was acknowledged."""
    sender = Sender(url, repeats=False)
    sending = asyncio.create_task(sender.send_all())
    await asyncio.wait_for(sender.enough.wait(), 60)
    kill_everything(home)
    await sending
    assert ANSWERED_BEFORE_THE_KILL <= sender.answered < IDS * AT_ONCE, sender.answered
    return sender.acknowledged


def kill_everything(home: Path) -> None:
    """Kill each process of the stack; the supervisor first, so that it starts none again."""
    mark = f"TRACK_HOME={home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    for pid in sorted(found):
        os.kill(pid, signal.SIGKILL)


async def repeat_through_kafka(settings: Settings) -> None:
    """Send every id once more, as an outside producer, half of it into a partition of others."""
    topic, partitioner = Topics.of(settings.namespace).events, Partitioner(settings.partitions)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for number, sent in enumerate(sendings()):
            value = json.dumps(request_of(sent, 0)[0]).encode()
            home = partitioner.partition_of(sent[0])
            partition = (home + number % 2) % settings.partitions
            await producer.send(topic, value, sent[0].encode(), partition)
        await producer.flush()


def settings_of(stack: Stack) -> Settings:
    return dataclasses.replace(
        Settings(),
        kafka=stack.kafka,
        clickhouse=stack.clickhouse,
        namespace=stack.namespace,
        partitions=stack.partitions,
    )


async def accepted(settings: Settings) -> list[Sent]:
    rows = await read_topic(settings, Topics.of(settings.namespace).accepted)
    events = [json.loads(row.value) for records in rows.values() for row in records]
    return sorted((event["user_id"], event["event_id"]) for event in events)


async def counted(stack: Stack) -> list[Any]:
    async with httpx.AsyncClient(base_url=stack.http, timeout=10) as client:
        days = {"start_date": "2025-01-18", "end_date": "2025-01-18"}
        response = await client.get("/metrics", params=days)
    return list(response.json().get("data", []))


@pytest.mark.long
def test_repeated_over_a_kill_of_everything_each_id_is_counted_once(tmp_path: Path) -> None:
    environment = stack_environment(tmp_path, TRACK_SESSION_TIMEOUT_MS="6000")
    output = tmp_path / "output"
    first = start_up(environment, output)
    second: subprocess.Popen[bytes] | None = None
    try:
        stack = wait_for_stack(first, tmp_path, output)
        acknowledged = asyncio.run(send_until_killed(stack.http, tmp_path))
        assert first.wait(20) == -signal.SIGKILL

        second = start_up(environment, output)
        stack = wait_for_stack(second, tmp_path, output)
        settings = settings_of(stack)
        log = asyncio.run(read_topic(settings, Topics.of(settings.namespace).events))
        logged = [json.loads(row.value) for rows in log.values() for row in rows]
        assert acknowledged <= {(each["user_id"], each["event_id"]) for each in logged}

        again = Sender(stack.http, repeats=True)
        asyncio.run(again.send_all())
        assert again.answered == IDS * AT_ONCE
        asyncio.run(repeat_through_kafka(settings))
        asyncio.run(wait_until_processed(settings))
        assert asyncio.run(accepted(settings)) == sorted(sendings())
        wanted = [{"date": "2025-01-18", "buy": IDS}]
        asyncio.run(until(lambda: counted(stack), wanted))
        assert verify(settings), "topics, tables and rollups do not agree"

        second.send_signal(signal.SIGINT)
        assert second.wait(60) == 0
        assert processes_of(tmp_path) == []
    finally:
        kill_everything(tmp_path)
        for process in (first, second):
            if process is not None:
                process.wait(20)
