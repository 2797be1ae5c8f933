"""What is done to Kafka besides sending and receiving: topics, their settings, reading one whole.

In: settings or bootstrap servers. Out: topics made, faults as sentences, the latest value of each
key. Never: a setting of an existing topic changed; a wait without an end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    KafkaError,
    LeaderNotAvailableError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from contracts.topics import Topics, topic_settings
from runtime.cancelling import cancel
from runtime.kafka.fetched_records import allow_any_header_name, bare
from runtime.kafka.refusals import FORBIDDEN
from runtime.kafka.servers import KafkaServers
from runtime.settings import Settings

__all__ = [
    "KafkaError",
    "create_topics",
    "describe_settings",
    "find_topic_faults",
    "learn",
    "list_missing_topics",
    "open_admin",
    "open_consumer",
    "read_ends",
    "read_group_offsets",
    "read_latest",
    "sum_ends",
    "wait_for_leaders",
]

_REQUEST_TIMEOUT_MS = 10_000
_FETCH_WAIT_MS = 20
_FETCHED_BYTES = 1 << 20
_STOP_PAUSE_S = 0.5
_COORDINATOR_ATTEMPTS, _COORDINATOR_RETRY_S = 20, 0.25
_LEADER_ATTEMPTS, _LEADER_RETRY_S = 100, 0.1


@asynccontextmanager
async def open_admin(servers: KafkaServers) -> AsyncIterator[AIOKafkaAdminClient]:
    """Give a connected admin client.

    Raises:
        KafkaError: no broker answers.
    """
    admin = AIOKafkaAdminClient(
        **servers.client_arguments(), request_timeout_ms=_REQUEST_TIMEOUT_MS
    )
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def partition_counts(settings: Settings) -> dict[str, int]:
    """Return how many partitions each topic must have."""
    topics = Topics.of(settings.namespace)
    return {
        **dict.fromkeys(topics.partitioned, settings.partitions),
        **dict.fromkeys(topics.single, 1),
    }


async def list_missing_topics(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """Return the pipeline's topics that do not exist, in their order."""
    existing = set(await admin.list_topics())
    return [topic for topic in partition_counts(settings) if topic not in existing]


async def create_topics(
    admin: AIOKafkaAdminClient, settings: Settings, missing: Iterable[str]
) -> None:
    """Make topics with their settings; one that somebody made meanwhile is left as it is.

    Raises:
        KafkaError: the broker refused one.
    """
    counts = partition_counts(settings)
    configs = topic_settings(Topics.of(settings.namespace))
    response = await admin.create_topics(
        [
            NewTopic(topic, counts[topic], settings.replication, topic_configs=dict(configs[topic]))
            for topic in missing
        ]
    )
    for topic, code, *rest in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"topic {topic}: {rest[0] if rest else ''}")


async def wait_for_leaders(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Wait until every partition of topics just made can be written to.

    Raises:
        KafkaError: it takes longer than new topics do.
    """
    counts = partition_counts(settings)
    for _ in range(_LEADER_ATTEMPTS):
        topics = await admin.describe_topics(list(counts))
        if all(
            each["error_code"] == 0
            and len(each["partitions"]) > 0
            and all(partition["leader"] >= 0 for partition in each["partitions"])
            for each in topics
        ):
            return
        await asyncio.sleep(_LEADER_RETRY_S)
    raise LeaderNotAvailableError("new topics have no leader yet")


async def find_topic_faults(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """Return a sentence for each topic that is missing or not set as it must be."""
    counts = partition_counts(settings)
    faults = []
    for each in await admin.describe_topics(list(counts)):
        topic, expected, found = each["topic"], counts[each["topic"]], len(each["partitions"])
        if each["error_code"]:
            error = for_code(each["error_code"])
            if issubclass(error, FORBIDDEN):
                raise error(f"topic {topic}")
            faults.append(f"Topic {topic} is not there ({error.__name__}); run `track migrate`.")
        elif found != expected:
            faults.append(
                f"Topic {topic} has {found} partitions; it must have {expected} "
                "(the number is chosen once: TRACK_PARTITIONS)."
            )
    return faults or await _find_setting_faults(admin, settings)


async def _find_setting_faults(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    expected = topic_settings(Topics.of(settings.namespace))
    found = await describe_settings(admin, expected)
    return [
        f"Topic {topic}: {name} is {found[topic].get(name)!r}; it must be {value!r}. "
        "Set it with Kafka's kafka-configs tool."
        for topic, values in expected.items()
        for name, value in values.items()
        if found[topic].get(name) != value
    ]


async def describe_settings(
    admin: AIOKafkaAdminClient, topics: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, str]]:
    """Return the settings of topics, by topic and by the names that are asked for.

    Raises:
        KafkaError: a topic is not there, or the broker refuses.
    """
    found: dict[str, dict[str, str]] = {}
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict.fromkeys(names))
        for topic, names in topics.items()
    ]
    for response in await admin.describe_configs(resources):
        for code, message, _, topic, entries in response.resources:
            if code:
                raise for_code(code)(f"topic {topic}: {message}")
            found[topic] = {entry[0]: entry[1] for entry in entries}
    return found


async def read_group_offsets(
    admin: AIOKafkaAdminClient, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return what a group has committed for each partition; offset -1 where that is nothing.

    A coordinator that has just begun to load the group answers with an error for the whole, which
    aiokafka's client passes over: its answer lacks the partitions that were asked for, as if
    nothing had been committed. So such an answer is none, and is asked for again.

    Raises:
        KafkaError: the coordinator does not tell within five seconds.
    """
    for _ in range(_COORDINATOR_ATTEMPTS):
        with contextlib.suppress(CoordinatorNotAvailableError):
            found = await admin.list_consumer_group_offsets(group, partitions=list(partitions))
            if all(where in found for where in partitions):
                return dict(found)
        await asyncio.sleep(_COORDINATOR_RETRY_S)
    raise CoordinatorNotAvailableError(f"the coordinator of {group} does not tell its offsets")


async def sum_ends(servers: KafkaServers, topics: Iterable[str]) -> dict[str, int]:
    """Return the sum of a topic's end offsets over its partitions, by topic: 0 = never written.

    Raises:
        KafkaError, TimeoutError: a broker does not answer.
    """
    async with open_consumer(servers, uncommitted=True) as consumer:
        sums = {}
        for topic in topics:
            partitions = [
                TopicPartition(topic, number) for number in await _partitions_of(consumer, topic)
            ]
            sums[topic] = sum((await consumer.end_offsets(partitions)).values())
        return sums


async def read_ends(
    servers: KafkaServers, wheres: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return where partitions end for whoever may see everything that was written until now.

    A commit is answered before its marks stand in the partitions. To a reader of committed records
    a partition ends before them for some milliseconds more, as if nothing had been committed (seen
    on a busy machine: the log id that had just been written was not there).

    Raises:
        KafkaError, TimeoutError: a broker does not answer.
    """
    async with open_consumer(servers, uncommitted=True) as consumer:
        await learn(consumer, wheres)
        return dict(await consumer.end_offsets(wheres))


async def learn(consumer: AIOKafkaConsumer, wheres: Iterable[TopicPartition]) -> None:
    """Let a consumer know where partitions are before it asks for their offsets.

    Otherwise it asks in vain, and waits for the tenth of a second that it lets pass after an error.
    """
    await consumer._client.set_topics({where.topic for where in wheres})


async def read_latest(servers: KafkaServers, topic: str, partition: int) -> dict[bytes, bytes]:
    """Return the latest committed value of each key of a compacted topic's partition.

    Keys whose latest value is null are left out. An open transaction is waited for, and so is one
    that is committed and not yet to be seen: bound the call with a time-out.

    Raises:
        KafkaError, TimeoutError: a broker does not answer.
    """
    where = TopicPartition(topic, partition)
    latest: dict[bytes, bytes | None] = {}
    end = (await read_ends(servers, [where]))[where]
    async with open_consumer(servers) as consumer:
        consumer.assign([where])
        # The explicit offset matters: after a bare `assign` the background reset to the default
        # position can win, and the topic would seem empty.
        consumer.seek(where, (await consumer.beginning_offsets([where]))[where])
        while await consumer.position(where) < end:
            for records in (await consumer.getmany(where, timeout_ms=200)).values():
                latest.update((record.key, record.value) for record in records)
    return {key: value for key, value in latest.items() if value is not None}


@asynccontextmanager
async def open_consumer(
    servers: KafkaServers, *, uncommitted: bool = False, bytes_at_once: int = _FETCHED_BYTES
) -> AsyncIterator[AIOKafkaConsumer]:
    """Give a connected consumer of committed records, without a group, that seeks by itself never.

    To one that is `uncommitted` a partition ends where its last record does, committed or not. Of
    each partition `bytes_at_once` are fetched, and at least one batch of one of them. The records
    are bare ones, see `fetched_records`.

    Raises:
        KafkaError: no broker answers.
    """
    allow_any_header_name()
    consumer = AIOKafkaConsumer(
        **servers.client_arguments(),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted" if uncommitted else "read_committed",
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        # It reads to an end and waits for nothing new; a fetch that waits holds up what is asked
        # behind it.
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=bytes_at_once,
        value_deserializer=bare,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await close_consumer(consumer)


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, also where aiokafka's fetcher swallows that it is cancelled.

    Its `stop` then waits for ever for the fetcher, which another cancellation ends (seen at every
    second start over TLS).
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait({stopping}, timeout=_STOP_PAUSE_S)
    await cancel(stopping)
    if not stopping.cancelled():
        stopping.result()


async def _partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    """Return a topic's partitions; a topic made just now is not known to every broker at once."""
    while not (numbers := consumer.partitions_for_topic(topic)):
        await asyncio.sleep(0.1)
        await consumer._client.force_metadata_update()
    return sorted(numbers)
