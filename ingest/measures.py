"""What ingest tells Prometheus.

In: the endpoints and the way into Kafka. Out: their numbers as samples. Never: work for a request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from contracts.events import Reason
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
    REPORTED_EVENTS,
)
from ingest.answers import STATUS
from ingest.batch import Batch
from ingest.endpoint import Endpoint
from ingest.publisher import Traffic
from ingest.track import Track
from runtime.access.guards import refusals_of
from runtime.access.keys import Scope
from runtime.monitoring.measures import Sample

# Of each code that a request with events may be answered with.
_STATUS = {**STATUS, **{each.code: each.status for each in refusals_of(Scope.WRITE)}}


class Publisher(Protocol):
    """What has numbers to tell beside the endpoints."""

    @property
    def traffic(self) -> Traffic:
        """What has gone through, and what is on its way."""


def samples_of(track: Track, batches: Sequence[Batch], publisher: Publisher) -> Iterator[Sample]:
    """Give the samples of a moment; a route that nobody uses has none of its own."""
    used = [each for each in batches if each.acknowledged.count or each.refusals]
    for endpoint in (track, *used):
        yield from _samples_of_endpoint(endpoint)
    refusals = sum((each.refusals for each in (track, *used)), Counter[str]())
    for reason in _STATUS:
        yield HTTP_REFUSALS, (reason,), refusals[reason]
    reported = sum((each.rejections for each in used), Counter[str]())
    for reason in Reason:
        yield REPORTED_EVENTS, (reason,), reported[reason]
    yield from _samples_of_traffic(publisher.traffic)


def _samples_of_endpoint(endpoint: Endpoint) -> Iterator[Sample]:
    route = endpoint.path
    yield ACKNOWLEDGEMENT, (route,), endpoint.acknowledged
    yield HTTP_REQUESTS, (route, endpoint.method, "200"), endpoint.acknowledged.count
    by_status: Counter[int] = Counter()
    for reason, refused in endpoint.refusals.items():
        by_status[_STATUS[reason]] += refused
    for status, refused in by_status.items():
        yield HTTP_REQUESTS, (route, endpoint.method, str(status)), refused


def _samples_of_traffic(traffic: Traffic) -> Iterator[Sample]:
    yield PUBLISHED_BATCHES, (), traffic.batches
    yield PUBLISHED_EVENTS, (), traffic.events
    yield PUBLISHED_BYTES, (), traffic.bytes
    yield PUBLISHER_WAITING, (), traffic.waiting_bytes
    yield PUBLISHER_UNDER_WAY, (), traffic.under_way_bytes
    yield PUBLISHER_STALLED, (), traffic.stalled_partitions
