"""Ports for Prometheus: one a process, in a row, and a sentence where one cannot be had."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cli.metrics_ports import (
    TARGETS,
    busy_metrics_ports,
    http_names,
    metrics_ports,
    publish_targets,
    withdraw_targets,
)
from runtime.settings import Settings

MANY = replace(Settings(), http_workers=3, sessionizers=2, writers=1, port=8000)
NAMES = ["up", "http-1", "http-2", "http-3", "sessionizer-1", "sessionizer-2", "writer"]


def test_there_are_as_many_for_http_as_cores_unless_so_many_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, names in ((1, ["http"]), (3, ["http-1", "http-2", "http-3"])):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert http_names(Settings()) == names
        assert len(http_names(MANY)) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    assert len(http_names(Settings())) == 8


def test_they_lie_behind_the_http_port_unless_one_is_set() -> None:
    assert metrics_ports(MANY) == dict(zip(NAMES, range(8001, 8008), strict=True))
    ports = metrics_ports(replace(MANY, metrics_port=9464))
    assert ports == dict(zip(NAMES, range(9464, 9471), strict=True))


def test_a_port_that_a_server_has_is_refused() -> None:
    [problem] = busy_metrics_ports(replace(MANY, metrics_port=8995), {8000, 9000, 9092})
    assert "Port 9000" in problem
    assert "TRACK_METRICS_PORT" in problem
    assert "7 free ports" in problem


def test_ports_end_at_65535() -> None:
    [problem] = busy_metrics_ports(replace(MANY, port=65_530), {65_530})
    assert "65537" in problem
    assert "TRACK_METRICS_PORT" in problem


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        problems = busy_metrics_ports(replace(MANY, metrics_port=port), set())
    assert problems == [
        f"Port {port} is in use by another program; set TRACK_METRICS_PORT to another one."
    ]


def test_the_file_of_targets_is_as_prometheus_reads_it(tmp_path: Path) -> None:
    publish_targets(tmp_path, "127.0.0.1", {"up": 8001, "writer": 8002})
    assert json.loads((tmp_path / TARGETS).read_text()) == [
        {"targets": ["127.0.0.1:8001"], "labels": {"program": "up"}},
        {"targets": ["127.0.0.1:8002"], "labels": {"program": "writer"}},
    ]
    withdraw_targets(tmp_path)
    assert not (tmp_path / TARGETS).exists()
