"""What the sessionizer tells Prometheus.

In: the counts and the state of partitions, the transactions. Out: samples, in another thread.
Never: work for a record; what is counted is counted by who does it anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.events import Reason
from contracts.metrics import (
    DROPPED,
    DUPLICATE_IDS,
    DUPLICATE_WINDOW,
    FORGOTTEN,
    OPEN_PLAYS,
    RECORDS,
    REJECTIONS,
    SESSIONS,
    TRANSACTION_DURATION,
    TRANSACTION_RECORDS,
    USERS,
    WAITING_STOPS,
)
from processors.sessionizer.partition import Counts, Partition
from runtime.monitoring.measures import Histogram, Sample


class Transactions:
    """The transactions of a process."""

    def __init__(self) -> None:
        self._durations = Histogram(TRANSACTION_DURATION)
        self._records = Histogram(TRANSACTION_RECORDS)

    def note(self, took_s: float, records: int) -> None:
        """Note one that was committed."""
        self._durations.observe(took_s)
        self._records.observe(records)

    def samples(self) -> Iterator[Sample]:
        """Give what was noted."""
        yield TRANSACTION_DURATION, (), self._durations
        yield TRANSACTION_RECORDS, (), self._records


def samples_of_counts(counts: Counts) -> Iterator[Sample]:
    """Give what became of all records."""
    outcomes = {
        "accepted": counts.accepted,
        "rejected": counts.rejected,
        "duplicate": counts.duplicates,
        "rerouted": counts.readdressed,
    }
    for outcome, count in outcomes.items():
        yield RECORDS, (outcome,), count
    for reason in Reason:
        yield REJECTIONS, (reason,), counts.reasons[reason]
    yield SESSIONS, (), counts.sessions
    dropped = counts.dropped
    yield DROPPED, ("play",), dropped.plays
    yield DROPPED, ("stop",), dropped.stops
    yield FORGOTTEN, ("play",), dropped.old_plays
    yield FORGOTTEN, ("stop",), dropped.old_stops


def samples_of_state(partition: Partition, received_at: int) -> Iterator[Sample]:
    """Give what a partition keeps; `received_at` is of the last record processed."""
    labels = (str(partition.number),)
    yield OPEN_PLAYS, labels, partition.open_plays
    yield WAITING_STOPS, labels, partition.waiting_stops
    yield USERS, labels, len(partition.users)
    since = partition.window_since
    yield DUPLICATE_IDS, labels, partition.window_size
    span_s = 0 if since is None else max(0, received_at - since) / 1000
    yield DUPLICATE_WINDOW, labels, span_s
