"""Everything bad that can be sent, over HTTP and through Kafka, to a whole stack: nothing stops.

Each record of the log has the contract's outcome: a row in `events`, a row in `rejected_events`
with its reason, or it is a repetition, or it was moved. The pure step over the log says which.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from cli.verify import verify
from contracts.topics import Partitioner, Topics
from runtime.clickhouse import connect
from runtime.settings import Settings
from runtime.startup import require_log
from tests.bodies import MENDED, REFUSED, TAKEN, event
from tests.processors.sessionizer.running import Expected, read_topic, wait_until_processed
from tests.running_stack import RunningStack

Headers = list[tuple[str, bytes | None]]
LARGEST = 900_000  # Kafka takes 1 MiB
WRITTEN_WITHIN_S = 60.0

ATTRIBUTES = {
    "specversion": "1.0",
    "type": "play",
    "source": "/player",
    "id": "17",
    "subject": "cloud",
    "time": "2025-01-18T14:30:00Z",
}
DATA: list[tuple[bytes | None, bytes | None]] = [
    (b'{"song":1}', b"application/json"),
    (b"[1,2]", None),
    (b"text", b"text/plain"),
    (b"\xff\x00", b"application/octet-stream"),
    (b"not json", b"application/json"),
    (b"", None),
    (None, None),
]
FORGED: list[Headers] = [
    [("source", b"\xff" * 1000)],
    [("source", None), ("source", b"second")],
    [("ce_id", b"without a version")],
    [("ce_specversion", None)],
    [("ce_specversion", b"\xff")],
    [("ce_specversion", b"1.0"), ("ce_specversion", b"0.3")],
    [("content-type", b"\xff")],
    [("content-type", b"application/cloudevents-batch+json")],
    [("received_at", b"0"), ("event_id", b"~forged"), ("", b"")],
    [(f"h{number}", b"x" * 100) for number in range(2_000)],
]


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of an outside producer; `code` is the reason that it must be rejected with."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    code: str | None = None


def records() -> Iterator[Sent]:
    """Give everything that an outside producer may get wrong."""
    for body in (*TAKEN.values(), *(body for body, _ in MENDED.values())):
        yield Sent(b"u", body, [])
        yield Sent(b"somebody else", body, [("source", b"elsewhere")])
    for body, _, code in REFUSED.values():
        if len(body) <= LARGEST:
            yield Sent(b"u", body, [], code)
    yield Sent(b"u", event() + b" " * (LARGEST - len(event())), [], "too_large")
    yield Sent(None, event(), [])
    yield Sent(b"\xff\x00", event(), [])
    for nothing in (None, b"u"):
        yield Sent(nothing, None, [], "no_value")
    yield Sent(b"\xff", bytes(range(256)), [], "invalid_json")
    for headers in FORGED:
        yield Sent(b"u", event(), headers)
    yield from cloudevents()


def cloudevents() -> Iterator[Sent]:
    """Give every subset of a CloudEvent's attributes, binary with each data, and structured."""
    for size in range(len(ATTRIBUTES) + 1):
        for chosen in itertools.combinations(ATTRIBUTES.items(), size):
            named: Headers = [(f"ce_{name}", content.encode()) for name, content in chosen]
            for value, media in DATA:
                typed: Headers = [] if media is None else [("content-type", media)]
                yield Sent(b"cloud", value, named + typed)
            for data in ({"song": 1}, [1, 2], "text", None):
                value = json.dumps(dict(chosen) | {"data": data}).encode()
                yield Sent(b"cloud", value, [("content-type", b"application/cloudevents+json")])


class MisnamedHeader(BatchBuilder):  # type: ignore[misc]  # the library has no types
    """A batch of one record with a header whose name is not UTF-8, as other clients can send it."""

    def __init__(self) -> None:
        super().__init__(4096, 0)
        self.append(key=b"u", value=event(), timestamp=None, headers=[("@@", b"x")])

    def _build(self) -> bytearray:
        built = bytearray(super()._build())
        built[built.index(b"@@") : built.index(b"@@") + 2] = b"\xff\xfe"
        built[17:21] = calc_crc32c(memoryview(built)[21:]).to_bytes(4, "big")
        return built


@pytest.fixture(scope="module")
def settings(stack: RunningStack) -> Settings:
    return dataclasses.replace(
        Settings(),
        kafka=stack.kafka,
        clickhouse=stack.clickhouse,
        namespace=stack.stack.namespace,
        partitions=stack.stack.partitions,
    )


def test_over_http_each_body_has_its_answer(stack: RunningStack) -> None:
    answers = {name: (body, 200) for name, body in TAKEN.items()}
    answers |= {name: (body, 200) for name, (body, _) in MENDED.items()}
    answers |= {name: (body, status) for name, (body, status, _) in REFUSED.items()}
    with httpx.Client(base_url=stack.http, timeout=10) as client:
        for name, (body, status) in answers.items():
            assert client.post("/track", content=body).status_code == status, name
        assert client.get("/track").status_code == 405


@pytest.mark.anyio
async def test_through_kafka_nothing_stops_and_nothing_is_lost(
    stack: RunningStack, settings: Settings
) -> None:
    said_before = stack.output.read_text()
    topics = Topics.of(settings.namespace)
    codes = await produce(settings, topics.events)

    await wait_until_processed(settings)
    log = await require_log(settings)
    events = await read_topic(settings, topics.events)
    expected = Expected(settings, log.id, events)
    assert sum(counts.read for counts in expected.counts) == sum(map(len, events.values()))
    accepted = [(p, row["log_offset"], row["event_id"]) for p, row in rows(expected.accepted)]
    rejected = [(p, row["log_offset"], row["reason"]) for p, row in rows(expected.rejected)]
    assert len(set(accepted)) == len(accepted)
    assert codes.items() <= {(p, offset): reason for p, offset, reason in rejected}.items()

    client = await connect(settings, timeout_s=10)
    try:

        async def table(select: str) -> list[Any]:
            return sorted(map(tuple, (await client.query(select)).result_rows))

        await until(
            lambda: table("SELECT kafka_partition, log_offset, event_id FROM events"), accepted
        )
        await until(
            lambda: table("SELECT log_partition, log_offset, reason FROM rejected_events"), rejected
        )
        counted = await table("SELECT sum(events) FROM event_counts")
    finally:
        await client.close()
    assert counted == [(len(accepted),)]
    assert await asyncio.to_thread(verify, settings), "topics, tables and rollups do not agree"
    said = stack.output.read_text().removeprefix(said_before)
    assert "ended" not in said, "a part of the stack was started again"


async def produce(settings: Settings, topic: str) -> dict[tuple[int, int], str]:
    """Send all records, each user's own partition by the key; return the reasons by place."""
    partitioner = Partitioner(settings.partitions)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, max_batch_size=2 * LARGEST)
    await producer.start()
    try:
        codes = {}
        for sent in records():
            number = 0 if sent.key is None else partitioner.partition_of(repr(sent.key))
            if sent.key in (b"u", b"cloud"):
                number = partitioner.partition_of(sent.key.decode())
            batch = producer.create_batch()
            batch.append(key=sent.key, value=sent.value, timestamp=None, headers=sent.headers)
            place = await (await producer.send_batch(batch, topic, partition=number))
            if sent.code is not None:
                codes[number, place.offset] = sent.code
        for number in range(settings.partitions):
            await (await producer.send_batch(MisnamedHeader(), topic, partition=number))
            # Nothing before may keep the last from its rows.
            await producer.send_and_wait(topic, event(user_id="last"), b"last", partition=number)
        return codes
    finally:
        await producer.stop()


def rows(lines: dict[int, list[bytes]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for partition, values in lines.items():
        for value in values:
            yield partition, json.loads(value)


async def until(found: Callable[[], Awaitable[list[Any]]], wanted: list[Any]) -> None:
    """Wait until a table has exactly these rows."""
    deadline = asyncio.get_running_loop().time() + WRITTEN_WITHIN_S
    while (rows := await found()) != sorted(wanted):
        if asyncio.get_running_loop().time() > deadline:
            missing, more = set(wanted) - set(rows), set(rows) - set(wanted)
            pytest.fail(f"missing {sorted(missing)[:5]}, too many {sorted(more)[:5]}")
        await asyncio.sleep(0.2)
