"""What is measured: names, values, and the targets they are held against.

In: numbers. Out: `Figure`s, and whether a target is met. Never: a measurement, a failure because a
target is missed.

The targets are those that the pipeline was built to; where each number comes from stands in the
module that measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class BenchmarkError(Exception):
    """A figure that does not count: the message says what was not as it must be."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at least, or at most, a number."""

    bound: float
    at_least: bool

    def is_met_by(self, value: float) -> bool:
        """Tell whether a value is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:,.12g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number: its name, its value, and in a few words how it was measured.

    It has a target of its own where that depends on what else was measured in the same run.
    """

    name: str
    value: float
    how: str
    own_target: Target | None = None

    @property
    def target(self) -> Target | None:
        """What it should be, if anything."""
        return self.own_target or TARGETS.get(self.name)


TARGETS: Mapping[str, Target] = {
    "sessionizer_events_per_s": Target(100_000, at_least=True),
    "sessionizer_vs_faust": Target(20, at_least=True),
    "sessionizer_cpu_two_vs_one": Target(1.15, at_least=False),
    "http_single_vs_plain": Target(2.5, at_least=True),
    "http_single_vs_native": Target(0.75, at_least=True),
    "http_single_p99_ms": Target(15, at_least=False),
    "writer_rows_per_s": Target(200_000, at_least=True),
    "writer_vs_kafka_engine": Target(1.0, at_least=True),
    "latency_p50_ms": Target(100, at_least=False),
    "latency_p99_ms": Target(500, at_least=False),
    "query_p99_ms": Target(50, at_least=False),
    "query_100m_p99_ms": Target(50, at_least=False),
    "query_100m_vs_10m": Target(1.5, at_least=False),
    "idle_rss_mb": Target(1_500, at_least=False),
    "cold_start_s": Target(25, at_least=False),
}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share (0.99) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return lowest and highest value and their number, for the words beside a median."""
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return f"median of {len(values)}: {low} to {high}"
