"""The groups' offsets: lost, reset to either end, and a group that begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from contracts.groups import sessionizer_group, writer_group
from contracts.tables import TABLE_OF_TOPIC
from runtime.kafka.admin import open_admin
from runtime.kafka.consumers import open_consumer
from tests.faults.load import Volume
from tests.faults.registry import scenario
from tests.faults.trial import Trial
from tests.groups import delete_group

_REFUSED = 78
_END = -1

Offsets = Mapping[TopicPartition, OffsetAndMetadata]


@scenario()
def the_sessionizers_offsets_are_reset(trial: Trial) -> None:
    """The sessionizer's offsets are set to either end, and removed: only its position counts."""
    sessionizer = trial.services["sessionizer"]
    for to in (0, _END, None):
        sessionizer.stop()
        trial.wait_for_events(200)
        asyncio.run(_reset(trial, sessionizer_group(trial.settings.namespace), _events(trial), to))
        sessionizer.start()
        sessionizer.wait_until_ready()


@scenario()
def the_writers_offsets_are_reset(trial: Trial) -> None:
    """The writer's offsets are set to either end, and removed: it refuses each, with a sentence.

    Given back what it had committed, it goes on.
    """
    writer, group = trial.services["writer"], writer_group(trial.settings.namespace)
    writer.expected_ends.add(_REFUSED)
    trial.wait_for_rows(1_000)
    for to in (0, _END, None):
        writer.stop()
        trial.wait_for_events(200)
        trial.sleep(2)  # the sessionizer's rows lie behind what was committed
        kept = asyncio.run(_committed(trial, group, _rows(trial)))
        asyncio.run(_reset(trial, group, _rows(trial), to))
        ended = len(writer.ends)
        writer.start()
        code = writer.wait_for_end(ended)
        said = writer.last_words()
        if code != _REFUSED or "track repair" not in said:
            trial.found(f"Offsets set to {to}: the writer ended with {code} and said: {said}")
        writer.stop()
        asyncio.run(_commit(trial, group, kept))
        writer.start()
        writer.wait_until_ready()


@scenario(services=("serve",), volume=Volume(per_s=1_500), events=30_000)
def groups_begin_under_load(trial: Trial) -> None:
    """Both groups begin for the first time with a log half full, and the load goes on."""
    trial.wait_for_events(15_000)
    for name in ("sessionizer", "writer"):
        trial.add_service(name)
    trial.services["writer"].wait_until_ready()


def _events(trial: Trial) -> list[TopicPartition]:
    return _places(trial, [trial.topics.events])


def _rows(trial: Trial) -> list[TopicPartition]:
    return _places(trial, [getattr(trial.topics, name) for name in TABLE_OF_TOPIC])


def _places(trial: Trial, topics: list[str]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, number)
        for topic in topics
        for number in range(trial.settings.partitions)
    ]


async def _reset(trial: Trial, group: str, places: list[TopicPartition], to: int | None) -> None:
    """Set a group's offsets to the beginning, to the end, or (None) remove them."""
    if to is None:
        delete_group(trial.settings.kafka, group)
        return
    async with open_consumer(trial.settings.kafka_servers) as consumer:
        ends = await consumer.end_offsets(places)
    offsets = {each: OffsetAndMetadata(0 if to == 0 else ends[each], "") for each in places}
    await _commit(trial, group, offsets)


async def _committed(trial: Trial, group: str, places: list[TopicPartition]) -> Offsets:
    async with open_admin(trial.settings.kafka_servers) as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=places)
    return {place: each for place, each in found.items() if each.offset >= 0}


async def _commit(trial: Trial, group: str, offsets: Offsets) -> None:
    """Commit for a group that has no members."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=trial.settings.kafka, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit(dict(offsets))
    finally:
        await consumer.stop()
