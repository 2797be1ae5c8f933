"""Prometheus' way to ask: GET /metrics on a port of its own, answered by threads of its own.

In: sources of samples. Out: the text format of Prometheus. Never: a wait of the process for who
asks, or of who asks for the main loop; a client that holds a thread for longer than its deadline.
"""

from __future__ import annotations

import logging
import platform
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from itertools import accumulate
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from contracts.metrics import BUILD_INFO, Kind, Metric, Service, metrics_of
from runtime.monitoring.measures import Histogram, Source
from runtime.settings import Settings
from runtime.startup import StartupError

PATH = "/metrics"
ANSWERED_WITHIN_S = 5.0
MAX_CLIENTS = 16

log = logging.getLogger(__name__)


def expose(settings: Settings, service: Service, *sources: Source) -> None:
    """Answer Prometheus from now on, where a port is set for it, until the process ends.

    Raises:
        StartupError: the port cannot be had.
    """
    if settings.metrics_port:
        server = open_exposition(settings.metrics_host, settings.metrics_port, service, sources)
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def open_exposition(
    host: str, port: int, service: Service, sources: Sequence[Source]
) -> ThreadingHTTPServer:
    """Return what answers once it serves; it listens already.

    Raises:
        StartupError: the port cannot be had.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Samples(service, sources))
    ProcessCollector(registry=registry)
    try:
        return _Server((host, port), lambda: generate_latest(registry))
    except OSError as error:
        raise StartupError(
            f"Cannot listen for Prometheus on {host} port {port} ({error.strerror}); set "
            "TRACK_METRICS_HOST and TRACK_METRICS_PORT to a free address of this machine."
        ) from error


class _Samples(Collector):
    """The samples of a service as the client library takes them, all of its metrics each time."""

    def __init__(self, service: Service, sources: Sequence[Source]) -> None:
        self._service = service
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        families = {metric: _family(metric) for metric in metrics_of(self._service)}
        families[BUILD_INFO].add_metric(
            [self._service, version("track"), platform.python_version()], 1
        )
        for source in self._sources:
            for metric, labels, value in source():
                _add(families[metric], labels, value)
        yield from families.values()


def _family(metric: Metric) -> Any:
    kinds = {
        Kind.COUNTER: CounterMetricFamily,
        Kind.GAUGE: GaugeMetricFamily,
        Kind.HISTOGRAM: HistogramMetricFamily,
    }
    return kinds[metric.kind](metric.name, metric.help, labels=metric.labels)


def _add(family: Any, labels: Sequence[str], value: float | Histogram) -> None:
    if isinstance(value, Histogram):
        ends = [*map(repr, value.bounds), "+Inf"]
        buckets = list(zip(ends, accumulate(value.counts), strict=True))
        family.add_metric(labels, buckets, value.sum)
    else:
        family.add_metric(labels, value)


class _Server(ThreadingHTTPServer):
    """A thread a client, for so many clients and so many seconds each."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], text: Callable[[], bytes]) -> None:
        self.text = text
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._places = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__(address, _Answers)

    def server_bind(self) -> None:
        """Bind, without the library's look-up of a name that nobody asks for."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin with a client, or close what is one too many."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client, who is cut off at the deadline, however slowly it sends or reads."""
        deadline = threading.Timer(ANSWERED_WITHIN_S, _cut, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


def _cut(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Answers(BaseHTTPRequestHandler):
    """The answer to one request, after which the connection is closed."""

    server: _Server

    def do_GET(self) -> None:  # the library's name
        """Answer."""
        if self.path.partition("?")[0] != PATH:
            self._send(404, "text/plain", b"Metrics are at /metrics\n")
            return
        try:
            text = self.server.text()
        except Exception:  # the outermost loop: whoever asks is told, and the work goes on
            log.exception("The metrics could not be read")
            self._send(500, "text/plain", b"The metrics could not be read; see the log\n")
        else:
            self._send(200, CONTENT_TYPE_PLAIN_0_0_4, text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Say nothing of requests."""

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
