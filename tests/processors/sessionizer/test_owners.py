"""Owners whose partitions are taken away while somebody waits for them."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest
from aiokafka.consumer.fetcher import Fetcher

from cli.migrate import run_migrations
from contracts.groups import sessionizer_group
from contracts.topics import Partitioner, Topics
from processors.sessionizer.owner import Work
from processors.sessionizer.owners import Owners
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Pipeline
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
    group = sessionizer_group(settings.namespace)
    return Work(
        settings.kafka_servers, group, topics, pipeline, lambda _: None, lambda _: None, fail
    )


async def test_whoever_waits_for_what_is_given_up_is_told_of_the_next_assignment(
    settings: Settings,
) -> None:
    """Faust goes on to fetch when its wait for the restore ends: not before there is a place."""
    await run_migrations(settings)
    owners = Owners(_work(settings))
    owners.assign([0, 1])
    waiting = asyncio.create_task(owners.begin())
    await asyncio.sleep(0)
    await owners.revoke()
    await asyncio.sleep(0.1)
    assert not waiting.done()
    owners.assign([1, 2])
    assert await asyncio.wait_for(waiting, 30) == {1: 0, 2: 0}
    await owners.revoke()
    owners.assign([])
    assert await asyncio.wait_for(owners.begin(), 1) == {}
    await owners.revoke()


async def test_a_restore_that_is_cancelled_while_it_closes_ends_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka swallows a cancellation that comes while a consumer closes; the group waited on."""
    await run_migrations(settings)
    closes, close = asyncio.Event(), Fetcher.close

    async def noted(fetcher: Fetcher) -> None:
        closes.set()
        await close(fetcher)

    monkeypatch.setattr(Fetcher, "close", noted)
    owners = Owners(_work(settings))
    owners.assign([0])
    assert not owners.joining
    waiting = asyncio.create_task(owners.begin())
    await asyncio.wait_for(closes.wait(), 30)
    await asyncio.wait_for(owners.revoke(), 10)
    assert owners.joining
    owners.assign([0])
    assert await asyncio.wait_for(waiting, 30) == {0: 0}
    await owners.revoke()
