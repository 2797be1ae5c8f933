"""Numbers that a process keeps about itself, and how they are handed to who asks.

In: values, from the one thread that does the work. Out: samples, to any thread. Never: a lock, a
look-up by name: the work adds to plain numbers, and whoever asks reads them as they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from contracts.metrics import Metric


class Histogram:
    """How many values fell into each bucket, and their sum; the last bucket is open."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, metric: Metric) -> None:
        self.bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Add a value, or so many of it."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)


Sample = tuple[Metric, Sequence[str], float | Histogram]
"""A metric, the values of its labels, and its number."""

Source = Callable[[], Iterable[Sample]]
"""Gives the samples of a moment; it is called by another thread than the one that does the work."""
