"""What ingest tells Prometheus.

In: the endpoint and the way into Kafka. Out: their numbers as samples. Never: work for a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from contracts.metrics import (
    ACKNOWLEDGEMENT,
    HTTP_REFUSALS,
    HTTP_REQUESTS,
    PUBLISHED_BATCHES,
    PUBLISHED_BYTES,
    PUBLISHED_EVENTS,
    PUBLISHER_STALLED,
    PUBLISHER_UNDER_WAY,
    PUBLISHER_WAITING,
)
from ingest.answers import STATUS
from ingest.publisher import Traffic
from ingest.track import Track
from runtime.access.guards import refusals_of
from runtime.access.keys import Scope
from runtime.monitoring.measures import Sample

ROUTE = "/track"
# Of each code that POST /track may answer with.
_STATUS = {**STATUS, **{each.code: each.status for each in refusals_of(Scope.WRITE)}}


class Publisher(Protocol):
    """What has numbers to tell beside the endpoint."""

    @property
    def traffic(self) -> Traffic:
        """What has gone through, and what is on its way."""


def samples_of(track: Track, publisher: Publisher) -> Iterator[Sample]:
    """Give the samples of a moment."""
    yield ACKNOWLEDGEMENT, (), track.acknowledged
    yield HTTP_REQUESTS, (ROUTE, "POST", "200"), track.acknowledged.count
    by_status = dict.fromkeys(_STATUS.values(), 0)
    for reason, status in _STATUS.items():
        refused = track.refusals[reason]
        by_status[status] += refused
        yield HTTP_REFUSALS, (reason,), refused
    for status, refused in by_status.items():
        if refused:
            yield HTTP_REQUESTS, (ROUTE, "POST", str(status)), refused
    yield from _samples_of_traffic(publisher.traffic)


def _samples_of_traffic(traffic: Traffic) -> Iterator[Sample]:
    yield PUBLISHED_BATCHES, (), traffic.batches
    yield PUBLISHED_EVENTS, (), traffic.events
    yield PUBLISHED_BYTES, (), traffic.bytes
    yield PUBLISHER_WAITING, (), traffic.waiting_bytes
    yield PUBLISHER_UNDER_WAY, (), traffic.under_way_bytes
    yield PUBLISHER_STALLED, (), traffic.stalled_partitions
