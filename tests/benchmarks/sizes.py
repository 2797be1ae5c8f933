"""How much is sent, and for how long: the sizes of a true run, and of a quick one.

A quick run shows that the benchmark works; its numbers mean nothing and are not written down.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of all measurements; the defaults are those of a true run."""

    warm_up_s: float = 15.0
    runs: int = 3
    events: int = 400_000
    users: int = 20_000
    faust_events: int = 20_000
    streams_warm_up: int = 200_000
    growth_events: int = 200_000
    growth_open_plays: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    http_rounds: int = 3
    http_s: int = 6
    open_loop_warm_up_s: float = 5.0
    open_loop_s: float = 20.0
    rows: int = 1_000_000
    pipeline_warm_up_s: float = 20.0
    pipeline_s: float = 300.0
    analyst_s: float = 15.0
    latency_rate: int = 2_000
    latency_warm_up_s: float = 45.0
    latency_s: float = 125.0
    latency_probes: int = 500
    latency_beside_s: float = 40.0
    idle_probes: int = 100
    query_events: int = 10_000_000
    query_sessions: int = 2_000_000
    query_users: int = 100_000
    query_requests: int = 300
    volume_events: int = 100_000_000
    volume_sessions: int = 20_000_000
    volume_users: int = 1_000_000
    volume_settled_within_s: float = 300.0
    idle_s: float = 20.0


FULL = Sizes()
QUICK = Sizes(
    warm_up_s=2.0,
    runs=1,
    events=40_000,
    faust_events=4_000,
    streams_warm_up=20_000,
    growth_events=20_000,
    growth_open_plays=(1_000, 10_000),
    http_rounds=1,
    http_s=2,
    open_loop_warm_up_s=1.0,
    open_loop_s=3.0,
    rows=100_000,
    pipeline_warm_up_s=2.0,
    pipeline_s=5.0,
    analyst_s=2.0,
    latency_warm_up_s=3.0,
    latency_s=8.0,
    latency_probes=60,
    latency_beside_s=4.0,
    idle_probes=20,
    query_events=500_000,
    query_sessions=100_000,
    query_requests=50,
    volume_events=1_000_000,
    volume_sessions=200_000,
    volume_users=100_000,
    idle_s=3.0,
)
