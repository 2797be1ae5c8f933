"""The owners of the partitions that this process has been assigned.

In: assignments, revocations, micro-batches. Out: an owner for each assigned partition. Never: an
owner that was not assigned; a micro-batch of a partition that is not owned is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from processors.sessionizer.owner import MicroBatch, Owner, Work
from processors.sessionizer.partition import Counts
from runtime.ready import announce_ready

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 10.0


class Owners:
    """Owners by partition."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._owners: dict[int, Owner] = {}

    def assign(self, partitions: Iterable[int]) -> None:
        """Make an owner for each partition; it begins to restore at once."""
        for number in partitions:
            if number not in self._owners:
                self._owners[number] = Owner(number, self._work)

    async def revoke(self) -> None:
        """Give all partitions up."""
        owners = list(self._owners.values())
        self._owners.clear()
        await asyncio.gather(*(owner.stop() for owner in owners))

    async def begin(self) -> Mapping[int, int]:
        """Wait until all are restored; return the offset to read on from, by partition.

        A partition that is given up meanwhile is left out.
        """
        owners = dict(self._owners)
        offsets = await asyncio.gather(*(owner.begin() for owner in owners.values()))
        begun = {
            number: offset
            for number, offset in zip(owners, offsets, strict=True)
            if offset is not None
        }
        if len(begun) == len(owners):
            announce_ready()
        return begun

    def take(self, partition: int, batch: MicroBatch) -> None:
        """Hand a micro-batch to its owner."""
        owner = self._owners.get(partition)
        if owner is not None:
            owner.take(batch)

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
