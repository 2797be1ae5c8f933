"""A group that does not take a process, although Kafka answers: the process must end."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from contracts.metrics import Service
from runtime.monitoring.watchdog import Watchdog
from runtime.settings import Settings
from tests.runtime.monitoring.test_lookout import MemoryProbe

pytestmark = pytest.mark.anyio

LOOKS = 12  # two limits of 30 s, a look every 5 s


def watchdog(joining: list[bool], limit_s: int = 30) -> Any:
    settings = dataclasses.replace(Settings(), watchdog_s=limit_s)
    return Watchdog(settings, Service.SESSIONIZER, 1, list, lambda: joining[0])


async def test_whoever_is_never_taken_must_end() -> None:
    looking = watchdog([True])
    verdicts = [await looking._look_at_the_group(MemoryProbe()) for _ in range(LOOKS)]
    assert verdicts[:-1] == [None] * (LOOKS - 1)
    assert "The group has not said for 60 s" in verdicts[-1]


async def test_whoever_was_taken_meanwhile_begins_anew() -> None:
    joining = [True]
    looking = watchdog(joining)
    for _ in range(LOOKS - 1):
        await looking._look_at_the_group(MemoryProbe())
    joining[0] = False
    assert await looking._look_at_the_group(MemoryProbe()) is None
    joining[0] = True
    assert await looking._look_at_the_group(MemoryProbe()) is None


async def test_a_kafka_that_is_away_excuses() -> None:
    class Away(MemoryProbe):
        async def bounds(self, places: Any) -> Any:
            raise TimeoutError

    looking = watchdog([True])
    for _ in range(LOOKS):
        with pytest.raises(TimeoutError):
            await looking._look_at_the_group(Away())


async def test_no_limit_is_never() -> None:
    looking = watchdog([True], 0)
    verdicts = [await looking._look_at_the_group(MemoryProbe()) for _ in range(LOOKS)]
    assert verdicts == [None] * LOOKS
