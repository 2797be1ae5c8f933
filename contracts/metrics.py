"""The names of all metrics: what each service tells Prometheus, in one place.

In: nothing. Out: names, kinds, labels and what they mean. Never: a number.

Prometheus' own conventions hold: base units (seconds, bytes), counters end with `_total`. The table
of docs/metrics.md says the same, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a number moves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Service(StrEnum):
    """Who has numbers to tell; `serve` is ingest and query in one process."""

    UP = "up"
    INGEST = "ingest"
    QUERY = "query"
    SESSIONIZER = "sessionizer"
    WRITER = "writer"
    SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; a histogram has the upper ends of its buckets, the last one open."""

    name: str
    kind: Kind
    help: str
    services: frozenset[Service]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_HTTP = (Service.INGEST, Service.QUERY)
_PROCESSORS = (Service.SESSIONIZER, Service.WRITER)


def _counter(name: str, help_: str, services: tuple[Service, ...], *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, help_, _told_by(services), labels)


def _gauge(name: str, help_: str, services: tuple[Service, ...], *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, help_, _told_by(services), labels)


def _histogram(
    name: str, help_: str, services: tuple[Service, ...], buckets: tuple[float, ...], *labels: str
) -> Metric:
    return Metric(name, Kind.HISTOGRAM, help_, _told_by(services), labels, buckets)


def _told_by(services: tuple[Service, ...]) -> frozenset[Service]:
    serve = {Service.SERVE} if set(services) & set(_HTTP) else set()
    return frozenset(services) | serve


_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_AGES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0)
_COUNTS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)
_SIZES = (1024.0, 16_384.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0)

# --- all --------------------------------------------------------------------------------------

BUILD_INFO = _gauge(
    "track_build_info",
    "Always 1; the labels say what runs",
    tuple(Service),
    "service",
    "version",
    "python",
)

# --- `track up` -------------------------------------------------------------------------------

PROGRAM_UP = _gauge(
    "track_program_up", "1 while a program of the stack works", (Service.UP,), "program"
)
PROGRAM_RESTARTS = _counter(
    "track_program_restarts_total", "Restarts of a program that ended", (Service.UP,), "program"
)

# --- HTTP -------------------------------------------------------------------------------------

HTTP_REQUESTS = _counter(
    "track_http_requests_total",
    "Answers by route, method and status",
    _HTTP,
    "route",
    "method",
    "status",
)
HTTP_DURATION = _histogram(
    "track_http_request_duration_seconds",
    "From a request to its answer, those with events left out",
    _HTTP,
    _QUICK_S,
    "route",
)
HTTP_CONNECTIONS = _gauge("track_http_connections", "Open connections", _HTTP)
ACKNOWLEDGEMENT = _histogram(
    "track_acknowledgement_duration_seconds",
    "From a request with events to Kafka's acknowledgement of all of them",
    (Service.INGEST,),
    _QUICK_S,
    "route",
)
HTTP_REFUSALS = _counter(
    "track_http_refusals_total",
    "Requests with events that were not answered with 200, by the code of the error",
    (Service.INGEST,),
    "reason",
)
REPORTED_EVENTS = _counter(
    "track_http_reported_events_total",
    "Events of batches that were none: reported to their sender, and kept as rejected",
    (Service.INGEST,),
    "reason",
)
PUBLISHED_BATCHES = _counter(
    "track_publisher_batches_total", "Batches that Kafka has acknowledged", (Service.INGEST,)
)
PUBLISHED_EVENTS = _counter(
    "track_publisher_events_total", "Events in those batches", (Service.INGEST,)
)
PUBLISHED_BYTES = _counter(
    "track_publisher_bytes_total", "Bytes of those batches", (Service.INGEST,)
)
PUBLISHER_WAITING = _gauge(
    "track_publisher_waiting_bytes", "Bytes that wait to be sent to Kafka", (Service.INGEST,)
)
PUBLISHER_UNDER_WAY = _gauge(
    "track_publisher_in_flight_bytes",
    "Bytes sent to Kafka and not yet acknowledged",
    (Service.INGEST,),
)
PUBLISHER_STALLED = _gauge(
    "track_publisher_stalled_partitions",
    "Partitions that refuse because Kafka has not acknowledged in time",
    (Service.INGEST,),
)

# --- the processors ---------------------------------------------------------------------------

PARTITIONS = _gauge("track_partitions", "Partitions that the process owns", _PROCESSORS, "service")
ALL_PARTITIONS = _gauge(
    "track_all_partitions",
    "Partitions that all processes of the service own together, if all is well",
    _PROCESSORS,
    "service",
)
LAG = _gauge(
    "track_lag_offsets",
    "Offsets between what is done and what can be read, by a question of its own to Kafka",
    _PROCESSORS,
    "topic",
    "partition",
)
STALLED = _gauge(
    "track_stalled_seconds",
    "For how long nothing was done although there was something to do",
    _PROCESSORS,
    "topic",
    "partition",
)
RETENTION = _gauge(
    "track_retention_seconds",
    "For how long Kafka keeps records, as it says itself; +Inf = for ever",
    _PROCESSORS,
    "topic",
)
RETENTION_LEFT = _gauge(
    "track_retention_left_seconds",
    "Until Kafka may drop the oldest record that is not done",
    _PROCESSORS,
    "topic",
    "partition",
)
PROBE_FAILURES = _counter(
    "track_probe_failures_total",
    "Questions to Kafka about ends and retention that had no answer",
    _PROCESSORS,
)

# --- sessionizer ------------------------------------------------------------------------------

_SESSIONIZER = (Service.SESSIONIZER,)

RECORDS = _counter(
    "track_records_total",
    "Records read, by what became of them: accepted, rejected, duplicate, rerouted",
    _SESSIONIZER,
    "outcome",
)
REJECTIONS = _counter(
    "track_rejections_total", "Records that are no event, by reason", _SESSIONIZER, "reason"
)
SESSIONS = _counter("track_sessions_total", "Sessions completed", _SESSIONIZER)
DROPPED = _counter(
    "track_dropped_total", "Plays and stops over 100 a user (rule 5)", _SESSIONIZER, "kind"
)
FORGOTTEN = _counter(
    "track_forgotten_total", "Plays and stops that were too old (rule 4)", _SESSIONIZER, "kind"
)
OPEN_PLAYS = _gauge("track_open_plays", "Plays that no stop has closed", _SESSIONIZER, "partition")
WAITING_STOPS = _gauge(
    "track_waiting_stops", "Stops that wait for their play", _SESSIONIZER, "partition"
)
USERS = _gauge(
    "track_users_with_state", "Users with an open play or a waiting stop", _SESSIONIZER, "partition"
)
DUPLICATE_WINDOW = _gauge(
    "track_duplicate_window_seconds",
    "Seconds of receipt over which an event_id is known",
    _SESSIONIZER,
    "partition",
)
DUPLICATE_IDS = _gauge(
    "track_duplicate_window_events",
    "Events whose ids are remembered",
    _SESSIONIZER,
    "partition",
)
QUEUED_BYTES = _gauge(
    "track_queued_bytes", "Bytes fetched that wait for a transaction", _SESSIONIZER, "partition"
)
TRANSACTION_DURATION = _histogram(
    "track_transaction_duration_seconds",
    "From the first record of a transaction to its commit",
    _SESSIONIZER,
    _SLOW_S,
)
TRANSACTION_RECORDS = _histogram(
    "track_transaction_records", "Records read in a transaction", _SESSIONIZER, _COUNTS
)

# --- writer -----------------------------------------------------------------------------------

_WRITER = (Service.WRITER,)

INSERT_DURATION = _histogram(
    "track_insert_duration_seconds",
    "From an insert's announcement to ClickHouse's yes, tries included",
    _WRITER,
    _SLOW_S,
    "table",
)
INSERT_ROWS = _histogram("track_insert_rows", "Rows of an insert", _WRITER, _COUNTS, "table")
INSERT_BYTES = _histogram("track_insert_bytes", "Bytes of an insert", _WRITER, _SIZES, "table")
INSERT_RETRIES = _counter(
    "track_insert_retries_total", "Sends that ClickHouse did not answer with yes", _WRITER, "table"
)
REFUSED_ROWS = _counter(
    "track_refused_rows_total", "Rows that ClickHouse refuses, put aside", _WRITER, "table"
)
FILLED_ROLLUPS = _counter(
    "track_filled_rollups_total", "Times that a rollup lacked rows and was filled", _WRITER, "table"
)
AGE = _histogram(
    "track_end_to_end_age_seconds",
    "From receipt to being in the table; of up to eight rows of each insert, each for its share",
    _WRITER,
    _AGES_S,
    "table",
)
BUFFERED_BYTES = _gauge("track_buffered_bytes", "Bytes fetched that wait for an insert", _WRITER)

METRICS = tuple(each for each in tuple(globals().values()) if isinstance(each, Metric))
BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}

# What the client library adds of the process itself.
PROCESS_METRICS = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
)


def metrics_of(service: Service) -> tuple[Metric, ...]:
    """Return what a service tells."""
    return tuple(metric for metric in METRICS if service in metric.services)
