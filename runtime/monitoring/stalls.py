"""When a process that says nothing must be ended: there is something to do, and nothing is done.

In: how far each partition is, how far Kafka says that it could be, and the moment. Out: for how
long each has stood still. Never: a clock, a connection; a verdict over time in which nobody looked.

The end must be asked of Kafka apart from the consumer that does the work: one that has stopped
fetching believes for ever that it stands at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from runtime.monitoring.progress import Progress


@dataclass(frozen=True, slots=True)
class _Still:
    next: int
    seconds: float


class Stalls:
    """How long each partition has stood still with something to do.

    A look counts for at most `longest_step_s`, so that a process which was stopped and goes on has
    its whole patience left.
    """

    def __init__(self, longest_step_s: float) -> None:
        self._longest_step_s = longest_step_s
        self._still: dict[TopicPartition, _Still] = {}
        self._looked_at: float | None = None

    def look(
        self, progress: Iterable[Progress], ends: Mapping[TopicPartition, int], now: float
    ) -> Mapping[TopicPartition, float]:
        """Return the seconds of standing still of each partition that is not excused.

        Args:
            progress: how far each partition is; one that is missing is no longer ours.
            ends: the offset behind the last record that can be read; one that is missing is not
                known, which excuses.
            now: seconds of a steady clock.
        """
        step = 0.0 if self._looked_at is None else min(now - self._looked_at, self._longest_step_s)
        self._looked_at = now
        before, self._still = self._still, {}
        for each in progress:
            if each.next is None or each.waits or ends.get(each.where, 0) <= each.next:
                continue
            known = before.get(each.where)
            if known is not None and known.next == each.next:
                self._still[each.where] = _Still(each.next, known.seconds + step)
            else:
                self._still[each.where] = _Still(each.next, 0.0)
        return {where: still.seconds for where, still in self._still.items()}

    def forget(self) -> None:
        """Begin anew: Kafka did not answer, so that nothing is known."""
        self._still.clear()
        self._looked_at = None
