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
    "sessionizer_vs_kafka_streams_eos": Target(2.5, at_least=True),
    "memory_mb_per_million_plays": Target(400, at_least=False),
    "http_single_vs_plain": Target(3, at_least=True),
    "http_single_vs_native": Target(0.75, at_least=True),
    "http_single_p99_ms": Target(15, at_least=False),
    "http_batch_events_per_s": Target(300_000, at_least=True),
    "writer_rows_per_s": Target(200_000, at_least=True),
    "writer_vs_file": Target(0.9, at_least=True),
    "writer_vs_kafka_engine": Target(1.0, at_least=True),
    "pipeline_http_events_per_s": Target(45_000, at_least=True),
    "pipeline_kafka_events_per_s": Target(60_000, at_least=True),
    "latency_p50_ms": Target(100, at_least=False),
    "latency_p99_ms": Target(500, at_least=False),
    "query_p99_ms": Target(50, at_least=False),
    "query_100m_p99_ms": Target(50, at_least=False),
    "query_100m_vs_10m": Target(1.5, at_least=False),
    "questions_100m_p99_ms": Target(100, at_least=False),
    "questions_100m_rows_p99_ms": Target(1_000, at_least=False),
    "stream_mb": Target(64, at_least=False),
    "sql_slowest_s": Target(1, at_least=False),
    "idle_rss_mb": Target(1_500, at_least=False),
    "cold_start_s": Target(25, at_least=False),
}


# What each figure of the tables is.
ABOUT: Mapping[str, str] = {
    "sessionizer_events_per_s": "events a second through one sessionizer, all outputs",
    "sessionizer_vs_faust": "times a plain Faust app with a table",
    "sessionizer_vs_kafka_streams_eos": "one worker over Kafka Streams with exactly_once_v2, two "
    "threads, stores in memory, no look for duplicates; the same outputs",
    "sessionizer_two_vs_kafka_streams_same_rules": "two workers over the same two threads, which "
    "look for duplicates too, as the contract asks",
    "sessionizer_vs_quix": "over Quix Streams, at least once; the same outputs",
    "sessionizer_vs_bytewax": "over Bytewax, at least once; the same outputs",
    "growth_cpu_8_vs_1": "CPU seconds a million events, eight workers over one, 16 partitions",
    "restore_s_per_million_plays": "seconds until a worker goes on with a million open plays",
    "memory_mb_per_million_plays": "resident memory for a million open plays",
    "sessionizer_cpu_two_vs_one": "CPU seconds a million events, two workers over one",
    "http_single_vs_plain": "two ingest processes over one process of a plain Starlette service "
    "that awaits each send; one event a request, 256 connections",
    "http_single_256_rps": "requests a second of these two; the target is 2.8 times the plain one",
    "http_single_64_rps": "the same over 64 connections",
    "http_single_vs_native": "over a bare service in Rust (axum, rdkafka) or Go (franz-go), the "
    "faster one",
    "http_single_p99_ms": "the slowest of a hundred at 5,000 requests a second, in open loop, "
    "counted from when each was due",
    "http_batch_events_per_s": "events a second in batches of 100, 64 connections, bodies of users "
    "that do not repeat",
    "pipeline_http_events_per_s": "events a second from HTTP batches to rows in ClickHouse, five "
    "minutes, everything on the machine",
    "pipeline_kafka_events_per_s": "the same with a Kafka producer at the front",
    "writer_rows_per_s": "rows a second into the real tables, rollups included",
    "writer_vs_file": "the same over inserting the same bytes from files",
    "writer_vs_kafka_engine": "over ClickHouse's own Kafka engine, two consumers, at least once, "
    "the same tables and views",
    "latency_p50_ms": "from the answer of POST /track to being counted in /metrics, beside 2,000 "
    "events/s",
    "latency_p99_ms": "the same",
    "query_p99_ms": "/metrics and /sessions for a year by month, 10 million events loaded",
    "idle_rss_mb": "memory of the whole stack at rest",
    "query_100m_p99_ms": "/metrics and /sessions by day over a year, all users and one, 100 "
    "million events of a million users",
    "query_100m_vs_10m": "times as long as over 10 million, the worst of the four by their medians",
    "questions_100m_p99_ms": "every other question but exports and values of metadata, the worst",
    "questions_100m_rows_p99_ms": "questions about values of metadata and attributes, the worst",
    "stream_mb": "memory that a stream of all 20 million sessions adds to the service, at most",
    "sql_slowest_s": "the slowest of the twenty-five questions of docs/sql.md, asked by the "
    "analyst, 100 million events of a million users",
    "cold_start_s": "`track up` in a new folder, everything downloaded",
}

# Figures that say as much on a noisy machine: both sides were measured in the same run.
RATIOS = frozenset(
    {
        "sessionizer_vs_faust",
        "sessionizer_vs_kafka_streams_eos",
        "sessionizer_two_vs_kafka_streams_same_rules",
        "sessionizer_vs_quix",
        "sessionizer_vs_bytewax",
        "growth_cpu_8_vs_1",
        "sessionizer_cpu_two_vs_one",
        "http_single_vs_plain",
        "http_single_vs_native",
        "writer_vs_file",
        "writer_vs_kafka_engine",
        "query_100m_vs_10m",
    }
)


def number(value: float) -> str:
    """Return a figure's value as the tables have it."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share (0.99) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return lowest and highest value and their number, for the words beside a median."""
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return f"median of {len(values)}: {low} to {high}"
