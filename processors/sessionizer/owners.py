"""The owners of the partitions that this process has been assigned.

In: assignments, revocations, micro-batches. Out: an owner for each assigned partition. Never: an
owner that was not assigned; a micro-batch of a partition that is not owned is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping

from aiokafka import TopicPartition

from contracts.metrics import QUEUED_BYTES
from processors.sessionizer.measures import samples_of_counts, samples_of_state
from processors.sessionizer.owner import MicroBatch, Owner, Work
from processors.sessionizer.partition import Counts
from runtime.monitoring.measures import Sample
from runtime.monitoring.progress import Progress
from runtime.ready import announce_ready

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 10.0


class Owners:
    """Owners by partition.

    Attributes:
        joining: whether the group still has to say which partitions are ours. Any thread may ask.
    """

    def __init__(self, work: Work) -> None:
        self.joining = True
        self._assigned = asyncio.Event()  # the same, for who waits
        self._work = work
        self._owners: dict[int, Owner] = {}
        self._leaving: list[Owner] = []
        self._past = Counts()  # of partitions that were given up

    def assign(self, partitions: Iterable[int]) -> None:
        """Make an owner for each partition; it begins to restore at once."""
        for number in partitions:
            if number not in self._owners:
                self._owners[number] = Owner(number, self._work)
        self.joining = False
        self._assigned.set()

    async def revoke(self) -> None:
        """Give all partitions up; the group is to say which are ours next."""
        self.joining = True
        self._assigned.clear()
        owners = list(self._owners.values())
        self._leaving = owners
        self._owners.clear()
        await asyncio.gather(*(owner.stop() for owner in owners))
        self._past, self._leaving = self._counted(), []

    async def begin(self) -> Mapping[int, int]:
        """Wait until all are restored; return the offset to read on from, by partition.

        What is given up meanwhile is forgotten, and the next assignment waited for: whoever went on
        without one would read from where nobody has said.
        """
        while True:
            await self._assigned.wait()
            owners = dict(self._owners)
            offsets = await asyncio.gather(*(owner.begin() for owner in owners.values()))
            begun = {
                number: offset
                for number, offset in zip(owners, offsets, strict=True)
                if offset is not None
            }
            if len(begun) == len(owners) and self._owners == owners:
                announce_ready()
                return begun

    def take(self, partition: int, batch: MicroBatch) -> None:
        """Hand a micro-batch to its owner."""
        owner = self._owners.get(partition)
        if owner is not None:
            owner.take(batch)

    def progress(self) -> list[Progress]:
        """Tell how far each partition is; Faust reads none of them before all are restored."""
        owners = list(self._owners.values())
        positions = [owner.position for owner in owners]
        topic, waits = self._work.topics.events, None in positions
        return [
            Progress(
                TopicPartition(topic, owner.number),
                None if position is None else position.next,
                waits,
            )
            for owner, position in zip(owners, positions, strict=True)
        ]

    def samples(self) -> Iterator[Sample]:
        """Give the numbers for Prometheus."""
        owners = list(self._owners.values())
        yield from samples_of_counts(self._counted(*owners))
        yield from self._work.transactions.samples()
        for owner in owners:
            yield QUEUED_BYTES, (str(owner.number),), owner.queued_bytes
            position = owner.position
            if position is not None:
                yield from samples_of_state(owner.partition, position.received_at)

    def _counted(self, *owners: Owner) -> Counts:
        """Return what these owners, and those before them, have counted."""
        total = Counts()
        total.add(self._past)
        for owner in (*self._leaving, *owners):
            total.add(owner.partition.counts)
        return total

    async def report(self) -> None:
        """Log what was done, at most every ten seconds and only when there was something."""
        before = 0
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            counts = [owner.partition.counts for owner in self._owners.values()]
            read = sum(each.read for each in counts)
            if read != before:
                log.info("%s", _summary(counts, max(0, read - before)))
            before = read


def _summary(counts: list[Counts], recent: int) -> str:
    fields = ("accepted", "sessions", "duplicates", "rejected", "readdressed")
    totals = ", ".join(f"{sum(getattr(each, name) for each in counts)} {name}" for name in fields)
    dropped = sum(each.dropped.plays + each.dropped.stops for each in counts)
    return f"{recent / _REPORT_EVERY_S:.0f} records/s; in all {totals}, {dropped} dropped"
