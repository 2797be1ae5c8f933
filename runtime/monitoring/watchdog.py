"""The watchdog of a processor: a thread with a loop of its own, which ends a process that hangs.

In: how far the process is, every few seconds. Out: numbers for Prometheus; warnings; the end of the
process, with the reason. Never: a wait for the loop that it watches over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from aiokafka import TopicPartition

from contracts.metrics import (
    ALL_PARTITIONS,
    LAG,
    PARTITIONS,
    PROBE_FAILURES,
    RETENTION,
    RETENTION_LEFT,
    STALLED,
    Service,
)
from contracts.topics import Topics
from runtime.kafka.admin import KafkaError
from runtime.kafka.probe import KafkaProbe, open_asking
from runtime.monitoring.lookout import Lookout
from runtime.monitoring.measures import Sample
from runtime.monitoring.progress import Report
from runtime.settings import Settings

EXIT_STALLED = 70
_LOOK_EVERY_S = 5.0
_LOOKS_WITHIN_LIMIT = 6
_JOINING_LIMITS = 2  # a group that waits for a slow member does so for a minute

log = logging.getLogger(__name__)


class Watchdog:
    """Watches over the partitions of this process.

    `topics` is how many topics the service reads; `joining` tells whether the group still has to
    say which partitions are its own.
    """

    def __init__(
        self,
        settings: Settings,
        service: Service,
        topics: int,
        report: Report,
        joining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._service = service
        self._partitions = topics * settings.partitions
        self._servers = settings.kafka_servers
        self._report = report
        self._joining = joining
        self._joins_s = 0.0
        self._asked = TopicPartition(Topics.of(settings.namespace).events, 0)
        self._limit_s = settings.watchdog_s
        self._every_s = _LOOK_EVERY_S
        if self._limit_s:
            self._every_s = min(_LOOK_EVERY_S, self._limit_s / _LOOKS_WITHIN_LIMIT)
        self._failures = 0
        self._lookout = Lookout(self._limit_s, 2 * self._every_s)

    def start(self) -> None:
        """Watch from now on, until the process ends."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def samples(self) -> Iterator[Sample]:
        """Give the numbers for Prometheus."""
        yield PROBE_FAILURES, (), self._failures
        yield PARTITIONS, (self._service,), self._lookout.owned
        yield ALL_PARTITIONS, (self._service,), self._partitions
        for view in self._lookout.views:
            place = (view.where.topic, str(view.where.partition))
            yield LAG, place, view.lag
            yield STALLED, place, view.stalled_s
            yield RETENTION_LEFT, place, view.left_s
        for topic, kept in self._lookout.kept.items():
            yield RETENTION, (topic,), kept.seconds

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except BaseException:  # the outermost loop: without a watchdog nobody would notice a hang
            log.exception("The watchdog failed")
            _end("The watchdog failed; this process ends and a new one goes on.")

    async def _watch(self) -> NoReturn:
        while True:
            try:
                async with open_asking(self._servers) as consumer:
                    await self._look(KafkaProbe(self._servers, consumer))
            except (KafkaError, OSError, TimeoutError) as error:
                self._failures += 1
                log.warning("Kafka does not say where its logs end: %s", type(error).__name__)
                self._lookout.forget()
                self._joins_s = 0.0
            await asyncio.sleep(self._every_s)

    async def _look(self, probe: KafkaProbe) -> NoReturn:
        """Look for as long as Kafka answers."""
        while True:
            why = await self._lookout.look(
                probe, self._report(), time.monotonic(), time.time_ns() // 1_000_000
            )
            why = why or await self._look_at_the_group(probe)
            if why is not None:
                _end(why)
            await asyncio.sleep(self._every_s)

    async def _look_at_the_group(self, probe: KafkaProbe) -> str | None:
        """Return why the process must end, if the group does not take it although Kafka answers."""
        if not self._joining() or not self._limit_s:
            self._joins_s = 0.0
            return None
        await probe.bounds([self._asked])
        self._joins_s += self._every_s
        if self._joins_s < _JOINING_LIMITS * self._limit_s:
            return None
        return (
            f"The group has not said for {self._joins_s:.0f} s which partitions are this process's "
            "own, although Kafka answers; it ends, and a new one joins (TRACK_WATCHDOG_S)."
        )


def _end(why: str) -> NoReturn:
    log.critical("%s", why)
    logging.shutdown()
    os._exit(EXIT_STALLED)
