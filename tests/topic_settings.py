"""Settings of a topic, changed as an administrator would.

In: a topic, values. Out: a broker that tells them. Never: a test that asks before it does, since a
broker follows a moment after the controller has agreed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from runtime.kafka.admin import describe_settings, open_admin
from runtime.kafka.servers import KafkaServers

_WITHIN_S = 20


async def set_topic(servers: KafkaServers, topic: str, values: Mapping[str, str]) -> None:
    """Set what is named, everything else back to what brokers take; return when it holds."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(values))
    async with open_admin(servers) as admin, asyncio.timeout(_WITHIN_S):
        await admin.alter_configs([resource])
        while (await describe_settings(admin, {topic: values}))[topic] != values:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
