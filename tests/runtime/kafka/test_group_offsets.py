"""What a group has committed: nothing is never said where the coordinator only has not told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata

from cli.migrate import run_migrations
from contracts.topics import Topics
from runtime.kafka import admin as admins
from runtime.kafka.admin import open_admin, read_group_offsets
from runtime.settings import Settings

pytestmark = pytest.mark.anyio
COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR = 14, 16


@pytest.fixture
async def committed(settings: Settings) -> Sequence[TopicPartition]:
    """Two partitions; the group has committed in the first of them."""
    await run_migrations(settings)
    places = [TopicPartition(Topics.of(settings.namespace).accepted, number) for number in (0, 1)]
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, group_id=settings.namespace, enable_auto_commit=False
    ) as consumer:
        consumer.assign(places)
        await consumer.commit({places[0]: OffsetAndMetadata(7, "note")})
    return places


@pytest.mark.parametrize("code", [COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR])
async def test_an_answer_without_the_partitions_is_asked_for_again(
    settings: Settings,
    committed: Sequence[TopicPartition],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [errors(code), errors(code)]
    tell(monkeypatch, answers)
    async with open_admin(settings.kafka_servers) as admin:
        found = await read_group_offsets(admin, settings.namespace, committed)
    assert found[committed[0]] == OffsetAndMetadata(7, "note")
    assert found[committed[1]].offset == -1
    assert answers == []


async def test_a_coordinator_that_never_tells_is_an_error(
    settings: Settings, committed: Sequence[TopicPartition], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(monkeypatch, [errors(NOT_COORDINATOR)] * 100)
    monkeypatch.setattr(admins, "_COORDINATOR_RETRY_S", 0.01)
    async with open_admin(settings.kafka_servers) as admin:
        with pytest.raises(KafkaError, match="does not tell"):
            await read_group_offsets(admin, settings.namespace, committed)


def errors(code: int) -> Any:
    """What a broker answers in whole: an error, and no topic."""
    return OffsetFetchResponse_v3(0, [], code)


def tell(monkeypatch: pytest.MonkeyPatch, answers: list[Any]) -> None:
    """Put answers before those of the broker."""
    real = AIOKafkaAdminClient._send_request

    async def send(self: AIOKafkaAdminClient, request: Any, *more: Any) -> Any:
        if type(request).__name__.startswith("OffsetFetch") and answers:
            return answers.pop()
        return await real(self, request, *more)

    monkeypatch.setattr(AIOKafkaAdminClient, "_send_request", send)
