"""The port for Prometheus: what it says, to how many, for how long, and where it cannot be had."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import runtime.monitoring.exposition as module
from contracts.metrics import (
    ACKNOWLEDGEMENT,
    BY_NAME,
    HTTP_REFUSALS,
    PROCESS_METRICS,
    PUBLISHER_WAITING,
    Service,
    metrics_of,
)
from deploy.local.machine import free_port
from runtime.monitoring.exposition import expose, open_exposition
from runtime.monitoring.measures import Histogram, Sample, Source
from runtime.settings import Settings
from runtime.startup import StartupError


@contextmanager
def served(*sources: Source) -> Iterator[str]:
    server = open_exposition("127.0.0.1", 0, Service.SERVE, sources)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def samples() -> Iterator[Sample]:
    times = Histogram(ACKNOWLEDGEMENT)
    times.observe(0.001)
    times.observe(0.0011, 3)
    times.observe(99)
    yield ACKNOWLEDGEMENT, ("/track",), times
    yield HTTP_REFUSALS, ('a "quoted"\\\nreason',), 7
    yield PUBLISHER_WAITING, (), 12.5


def test_what_was_counted_is_what_is_read() -> None:
    with served(samples) as url:
        answer = httpx.get(f"{url}/metrics", timeout=5)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    name = ACKNOWLEDGEMENT.name
    assert found[f"{name}_bucket", "0.001", "/track"] == 1, "the upper end belongs to its bucket"
    assert found[f"{name}_bucket", "0.0025", "/track"] == 4
    assert found[f"{name}_bucket", "5.0", "/track"] == 4
    assert found[f"{name}_bucket", "+Inf", "/track"] == found[f"{name}_count", "/track"] == 5
    assert found[f"{name}_sum", "/track"] == pytest.approx(99.0043)
    assert found[HTTP_REFUSALS.name, 'a "quoted"\\\nreason'] == 7
    assert found[PUBLISHER_WAITING.name,] == 12.5


def test_every_metric_of_the_service_is_told_and_no_other() -> None:
    with served() as url:
        text = httpx.get(f"{url}/metrics", timeout=5).text
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert told == {metric.name for metric in metrics_of(Service.SERVE)} | set(PROCESS_METRICS)
    for line in text.splitlines():
        if line.startswith("# TYPE track"):
            _, _, name, kind = line.split()
            assert kind == BY_NAME[name].kind


def test_another_path_is_404_and_a_source_that_fails_is_500() -> None:
    def broken() -> Iterator[Sample]:
        raise RuntimeError("no numbers")

    with served(broken) as url:
        assert httpx.get(url, timeout=5).status_code == 404
        assert httpx.get(f"{url}/metrics", timeout=5).status_code == 500


def test_slow_clients_are_cut_off_and_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWERED_WITHIN_S", 0.5)
    with served(samples) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        slow = [socket.create_connection(address, 5) for _ in range(module.MAX_CLIENTS - 1)]
        for each in slow:
            each.sendall(b"GET /metr")
        assert httpx.get(f"{url}/metrics", timeout=5).status_code == 200
        for each in slow:
            each.settimeout(10)
            assert each.recv(1) == b"", "it was not cut off"
            each.close()


def test_one_client_too_many_is_closed_and_later_ones_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    with served(samples) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        held = [socket.create_connection(address, 5) for _ in range(module.MAX_CLIENTS)]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/metrics", timeout=5)
        for each in held:
            each.close()
        deadline = time.monotonic() + 10
        while True:
            try:
                assert httpx.get(f"{url}/metrics", timeout=5).status_code == 200
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline


def test_it_answers_while_the_main_thread_is_busy() -> None:
    """The main thread computes and never waits; the interpreter lets others in between."""
    answers: list[int] = []
    with served(samples) as url:
        asking = threading.Thread(
            target=lambda: answers.append(httpx.get(f"{url}/metrics", timeout=10).status_code)
        )
        asking.start()
        deadline = time.monotonic() + 20
        while asking.is_alive():
            assert time.monotonic() < deadline
    assert answers == [200]


def test_a_port_that_is_taken_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            StartupError, match=rf"on 127\.0\.0\.1 port {port} .*TRACK_METRICS_PORT"
        ):
            expose(replace(Settings(), metrics_port=port), Service.WRITER)


def test_without_a_port_nothing_listens() -> None:
    def listening() -> int:
        return sum(each.name == "metrics" for each in threading.enumerate())

    before = listening()
    expose(replace(Settings(), metrics_port=0), Service.WRITER)
    assert listening() == before
    expose(replace(Settings(), metrics_port=free_port()), Service.WRITER)
    assert listening() == before + 1
