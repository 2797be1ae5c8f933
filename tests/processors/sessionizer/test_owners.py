"""Owners whose partitions are taken away while somebody waits for them."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from cli.migrate import run_migrations
from contracts.topics import Partitioner, Topics
from processors.sessionizer.owner import Work
from processors.sessionizer.owners import Owners
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Pipeline
from processors.sessionizer.transactions import group_of
from runtime.settings import Settings

pytestmark = pytest.mark.anyio


def _work(settings: Settings) -> Work:
    def fail(why: str) -> NoReturn:
        raise AssertionError(why)

    topics = Topics.of(settings.namespace)
    pipeline = Pipeline(
        log_id="0" * 32,
        topic=topics.events,
        partitioner=Partitioner(settings.partitions),
        rules=PairingRules(),
        duplicate_window=settings.duplicate_window,
    )
    group = group_of(settings.namespace)
    return Work(
        settings.kafka_servers, group, topics, pipeline, lambda _: None, lambda _: None, fail
    )


async def test_whoever_waits_for_a_partition_that_is_given_up_goes_on(settings: Settings) -> None:
    """Faust waits for the restore while it handles a rebalance: the next one must not hang."""
    await run_migrations(settings)
    owners = Owners(_work(settings))
    owners.assign([0, 1])
    waiting = asyncio.create_task(owners.begin())
    await asyncio.sleep(0)
    await owners.revoke()
    assert await asyncio.wait_for(waiting, 10) == {}
    owners.assign([1, 2])
    assert await asyncio.wait_for(owners.begin(), 30) == {1: 0, 2: 0}
    await owners.revoke()
