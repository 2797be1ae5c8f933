"""Which process of a stack answers Prometheus on which port.

In: settings. Out: a port for each process, in a file that Prometheus reads as well. Never: a port
that two processes share, as those of HTTP do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Set
from itertools import chain
from pathlib import Path

from deploy.local.machine import busy_ports
from runtime.settings import Settings

UP = "up"
TARGETS = "metrics.json"
_MOST_BY_THE_CORES = 8


def processor_names(settings: Settings) -> Mapping[str, list[str]]:
    """Return the names of the processors, by subcommand."""
    kinds = {"sessionizer": settings.sessionizers, "writer": settings.writers}
    return {kind: _names(kind, count) for kind, count in kinds.items()}


def http_names(settings: Settings) -> list[str]:
    """Return the names of the processes that serve HTTP: as many as were asked for, or as cores."""
    count = settings.http_workers or min(len(os.sched_getaffinity(0)), _MOST_BY_THE_CORES)
    return _names("http", count)


def metrics_ports(settings: Settings) -> dict[str, int]:
    """Return the port of each process: from TRACK_METRICS_PORT on, else behind TRACK_PORT."""
    first = settings.metrics_port or settings.port + 1
    names = [UP, *http_names(settings), *chain(*processor_names(settings).values())]
    return {name: first + number for number, name in enumerate(names)}


def busy_metrics_ports(settings: Settings, taken: Set[int]) -> list[str]:
    """Say which of these ports cannot be had; `taken` are those of the servers and of HTTP."""
    ports = metrics_ports(settings)
    last = max(ports.values())
    if last > 65535:
        return [f"The ports for Prometheus go up to {last}; set TRACK_METRICS_PORT to a lower one."]
    if both := taken & set(ports.values()):
        return [
            f"Port {min(both)} would be for Prometheus as well; set TRACK_METRICS_PORT to the "
            f"first of {len(ports)} free ports."
        ]
    busy = [
        problem
        for port in ports.values()
        for problem in busy_ports(settings.metrics_host, {"TRACK_METRICS_PORT": port})
    ]
    return busy[:1]


def publish_targets(home: Path, host: str, ports: Mapping[str, int]) -> None:
    """Write the file of targets that Prometheus' `file_sd_configs` reads, whole or not at all."""
    targets = [
        {"targets": [f"{host}:{port}"], "labels": {"program": name}} for name, port in ports.items()
    ]
    draft = home / f"{TARGETS}.draft"
    draft.write_text(json.dumps(targets, indent=1))
    draft.replace(home / TARGETS)


def withdraw_targets(home: Path) -> None:
    """Remove the file: the stack ends."""
    (home / TARGETS).unlink(missing_ok=True)


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}-{number}" for number in range(1, count + 1)]
