"""The measurements: which part measures which figures, in the order in which they run.

Parts that need Kafka and ClickHouse alone come first; those of the whole stack come after these
servers were stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks import (
    analyst,
    batches,
    growth,
    idle,
    insert_formats,
    kafka_engine,
    latency,
    native_events,
    open_loop,
    pipeline,
    questions,
    sessionizer,
    single_events,
    sql,
    streams,
    volume,
    writer,
)
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the benchmark: `make bench-NAME` runs it by its name or by one of its figures'."""

    name: str
    figures: tuple[str, ...]
    measure: Callable[[Bench], list[Figure]]
    whole_stack: bool = False


PARTS = (
    Part(
        "sessionizer",
        ("sessionizer_events_per_s", "sessionizer_vs_faust", "sessionizer_cpu_two_vs_one"),
        sessionizer.measure,
    ),
    Part(
        "streams",
        (
            "sessionizer_vs_kafka_streams_eos",
            "sessionizer_two_vs_kafka_streams_same_rules",
            "sessionizer_vs_quix",
            "sessionizer_vs_bytewax",
        ),
        streams.measure,
    ),
    Part(
        "growth",
        ("growth_cpu_8_vs_1", "restore_s_per_million_plays", "memory_mb_per_million_plays"),
        growth.measure,
    ),
    Part(
        "http",
        ("http_single_vs_plain", "http_single_256_rps", "http_single_64_rps"),
        single_events.measure,
    ),
    Part("native", ("http_single_vs_native",), native_events.measure),
    Part("open-loop", ("http_single_p99_ms",), open_loop.measure),
    Part("batches", ("http_batch_events_per_s",), batches.measure),
    Part("writer", ("writer_rows_per_s", "writer_vs_file"), writer.measure),
    Part("kafka-engine", ("writer_vs_kafka_engine",), kafka_engine.measure),
    Part(
        "pipeline",
        ("pipeline_http_events_per_s", "pipeline_kafka_events_per_s"),
        pipeline.measure,
    ),
    # The figures of these two stand in the file alone; no table has them.
    Part("insert-formats", (), insert_formats.measure),
    Part("analyst", (), analyst.measure),
    Part("query", ("query_p99_ms",), questions.measure),
    Part(
        "volume",
        (
            "query_100m_p99_ms",
            "query_100m_vs_10m",
            "questions_100m_p99_ms",
            "questions_100m_rows_p99_ms",
            "stream_mb",
        ),
        volume.measure,
    ),
    Part("sql", ("sql_slowest_s",), sql.measure),
    Part("idle", ("idle_rss_mb", "cold_start_s"), idle.measure, whole_stack=True),
    Part("latency", ("latency_p50_ms", "latency_p99_ms"), latency.measure, whole_stack=True),
)


def find_parts(names: Sequence[str]) -> list[Part]:
    """Return the parts of these names, all of them if there is none, in their order.

    Raises:
        ValueError: there is no such part or figure.
    """
    for name in names:
        if not any(name == part.name or name in part.figures for part in PARTS):
            known = ", ".join(part.name for part in PARTS)
            raise ValueError(f"There is no measurement {name}; there are {known}.")
    return [
        part
        for part in PARTS
        if not names or part.name in names or any(name in part.figures for name in names)
    ]
