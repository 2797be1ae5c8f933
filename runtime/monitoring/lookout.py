"""What one look at a process and its log shows: lag, standing still, retention that runs out.

In: how far each partition is, a probe of Kafka, the moment. Out: views for Prometheus, warnings,
and the sentence that ends a process which stands still. Never: a clock; an end of its own making.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aiokafka import TopicPartition

from runtime.kafka.probe import Bounds, Probe
from runtime.monitoring.progress import Progress
from runtime.monitoring.retention import Kept, in_words, is_in_danger, is_next_to_go, seconds_left
from runtime.monitoring.stalls import Stalls

_SETTINGS_EVERY_S = 60.0
_READ_EVERY_S = 60.0
_WARN_EVERY_S = 60.0
_ENOUGH_SHARE = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What is known of one partition."""

    where: TopicPartition
    lag: int
    stalled_s: float
    left_s: float


@dataclass(slots=True)
class _Oldest:
    """The oldest record that is not done was not received before this moment."""

    received_ms: int
    read_at: float = -math.inf
    read_for: tuple[int, int] = (-1, -1)


class Lookout:
    """Looks again and again, and remembers what it saw.

    Attributes:
        owned: how many partitions there were at the last look.
        views: those whose place was known.
        kept: for how long the topics are kept.
    """

    def __init__(self, limit_s: float, longest_step_s: float) -> None:
        """End a process that stands still for `limit_s`; 0 = never."""
        self.owned = 0
        self.views: Sequence[View] = ()
        self.kept: Mapping[str, Kept] = {}
        self._limit_s = limit_s
        self._stalls = Stalls(longest_step_s)
        self._oldest: dict[TopicPartition, _Oldest] = {}
        self._kept_at = self._warned_at = -math.inf

    async def look(
        self, probe: Probe, progress: Sequence[Progress], now: float, now_ms: int
    ) -> str | None:
        """Look once; return why the process must end, if it must.

        Args:
            probe: asks Kafka.
            progress: how far each partition is.
            now: seconds of a steady clock.
            now_ms: ms since 1970.

        Raises:
            KafkaError, TimeoutError: Kafka does not answer.
        """
        self.owned = len(progress)
        known = [each for each in progress if each.next is not None]
        await self._read_settings(probe, {each.where.topic for each in known}, now)
        bounds = await probe.bounds([each.where for each in known]) if known else {}
        ends = {where: bound.end for where, bound in bounds.items()}
        for each in known:
            if not await self._has_more(probe, each, ends[each.where], now, now_ms):
                ends[each.where] = each.next or 0
        stalled = self._stalls.look(progress, ends, now)
        self.views = [self._view(each, ends, stalled, now_ms) for each in known]
        self._warn(bounds, {each.where: each.next or 0 for each in known}, now)
        return self._verdict(stalled, ends)

    def forget(self) -> None:
        """Begin anew: Kafka did not answer."""
        self._stalls.forget()
        self.views = [replace(view, stalled_s=0.0) for view in self.views]

    async def _read_settings(self, probe: Probe, topics: set[str], now: float) -> None:
        if topics and (topics - self.kept.keys() or now - self._kept_at >= _SETTINGS_EVERY_S):
            self.kept = await probe.kept(sorted(topics))
            self._kept_at = now

    async def _has_more(
        self, probe: Probe, each: Progress, end: int, now: float, now_ms: int
    ) -> bool:
        """Tell whether there is a record to be done, and note when the oldest was received."""
        offset, where = each.next or 0, each.where
        oldest = self._oldest.setdefault(where, _Oldest(0))
        if offset >= end:
            self._oldest[where] = _Oldest(now_ms)
            return False
        read_at, read_to = oldest.read_for
        if offset == read_at and oldest.received_ms >= 0:
            return True
        if (offset, end) == (read_at, read_to):
            return False
        stands = any(view.where == where and view.stalled_s > 0 for view in self.views)
        kept = self.kept[where.topic]
        short = seconds_left(kept, oldest.received_ms, now_ms) < _ENOUGH_SHARE * kept.seconds
        if stands or (short and now - oldest.read_at >= _READ_EVERY_S):
            received = await probe.received_at(where, offset, end)
            self._oldest[where] = _Oldest(-1 if received is None else received, now, (offset, end))
            return received is not None
        return True

    def _view(
        self,
        each: Progress,
        ends: Mapping[TopicPartition, int],
        stalled: Mapping[TopicPartition, float],
        now_ms: int,
    ) -> View:
        lag = max(0, ends[each.where] - (each.next or 0))
        kept = self.kept[each.where.topic]
        received_ms = self._oldest[each.where].received_ms if lag else now_ms
        left_s = seconds_left(kept, received_ms, now_ms)
        return View(each.where, lag, stalled.get(each.where, 0.0), left_s)

    def _warn(
        self,
        bounds: Mapping[TopicPartition, Bounds],
        next_: Mapping[TopicPartition, int],
        now: float,
    ) -> None:
        """Say, once a minute, which partitions may lose what is not done."""
        if now - self._warned_at < _WARN_EVERY_S:
            return
        for view in self.views:
            kept, bound = self.kept[view.where.topic], bounds[view.where]
            if is_in_danger(kept, view.left_s):
                when = f"in {in_words(view.left_s)}"
            elif is_next_to_go(kept, start=bound.start, next_=next_[view.where], end=bound.end):
                when = f"soon, since the topic is kept up to {kept.bytes} bytes"
            else:
                continue
            self._warned_at = now
            log.warning(
                "%s/%d: Kafka may drop records that are not done %s; %d offsets are to be done. "
                "Add processes, or raise the topic's retention.",
                view.where.topic,
                view.where.partition,
                when,
                view.lag,
            )

    def _verdict(
        self, stalled: Mapping[TopicPartition, float], ends: Mapping[TopicPartition, int]
    ) -> str | None:
        where = max(stalled, key=lambda each: stalled[each], default=None)
        if where is None or not self._limit_s or stalled[where] < self._limit_s:
            return None
        return (
            f"{where.topic}/{where.partition}: nothing was done for {stalled[where]:.0f} s, "
            f"although the log goes on to offset {ends[where] - 1}; this process ends, and a new "
            "one goes on (TRACK_WATCHDOG_S)."
        )
