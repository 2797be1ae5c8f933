"""What is done to Kafka besides sending and receiving: topics, their settings, groups' offsets.

In: settings or bootstrap servers. Out: topics made, faults as sentences, offsets. Never: a setting
of an existing topic changed; a wait without an end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import TopicPartition
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
from runtime.kafka.refusals import FORBIDDEN
from runtime.kafka.servers import KafkaServers
from runtime.settings import Settings

__all__ = [
    "KafkaError",
    "create_topics",
    "describe_settings",
    "find_topic_faults",
    "list_missing_topics",
    "open_admin",
    "read_group_offsets",
    "wait_for_leaders",
]

_REQUEST_TIMEOUT_MS = 10_000
_COORDINATOR_ATTEMPTS, _COORDINATOR_RETRY_S = 80, 0.25
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
        KafkaError: the coordinator does not tell within twenty seconds.
    """
    for _ in range(_COORDINATOR_ATTEMPTS):
        with contextlib.suppress(CoordinatorNotAvailableError):
            found = await admin.list_consumer_group_offsets(group, partitions=list(partitions))
            if all(where in found for where in partitions):
                return dict(found)
        await asyncio.sleep(_COORDINATOR_RETRY_S)
    raise CoordinatorNotAvailableError(f"the coordinator of {group} does not tell its offsets")
