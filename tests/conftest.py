"""Servers and settings for tests: which Kafka and ClickHouse a test talks to, under which names.

Servers come from the environment if it names them (TRACK_KAFKA, TRACK_CLICKHOUSE), else from
testcontainers if a Docker engine answers and has the images, else from the local stack on free
ports. The summary of a run says which were taken. A test of its own namespace meets nobody.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.local.clickhouse import start_clickhouse
from deploy.local.kafka import start_kafka
from runtime.settings import Settings
from tests.running_stack import RunningStack, running_stack

KAFKA_IMAGE = "apache/kafka:4.1.0"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.7"
_PARTITIONS = 4
_SHARED = "servers"
_taken: list[str] = []


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of a test run: bootstrap servers, and a URL with user and password."""

    kafka: str
    clickhouse: str


_shared: list[Servers] = []
_shared_ends = ExitStack()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the services do."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """A Kafka and a ClickHouse that work, for the whole run and all of its workers."""
    shared = getattr(request.config, "workerinput", {}).get(_SHARED)
    if shared is not None:
        yield Servers(*shared)
        return
    with ExitStack() as ends:
        yield _start_servers(ends)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start the servers once, in the process that hands out tests to workers."""
    if not _shared:
        _shared.append(_start_servers(_shared_ends))
    node.workerinput[_SHARED] = dataclasses.astuple(_shared[0])


def pytest_unconfigure() -> None:
    """Stop the servers that the workers shared."""
    _shared_ends.close()


@pytest.fixture
def settings(servers: Servers, tmp_path: Path) -> Settings:
    """Settings with those servers and a namespace that nobody else has."""
    return settings_on(servers, tmp_path)


def settings_on(servers: Servers, home: Path) -> Settings:
    """Return settings of a pipeline on those servers, its namespace nobody else's."""
    return dataclasses.replace(
        Settings(),
        home=home,
        kafka=servers.kafka,
        clickhouse=servers.clickhouse,
        namespace=f"t_{secrets.token_hex(5)}",
        partitions=_PARTITIONS,
    )


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """A whole stack, started by `track up` on free ports; nothing of it may be left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="track-stack-"))
    try:
        with running_stack(folder) as running:
            _taken.append(f"whole stack: track up at {running.http}")
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers the run has used."""
    for line in _taken:
        terminalreporter.write_line(line)


def _start_servers(ends: ExitStack) -> Servers:
    folder = Path(tempfile.mkdtemp(prefix="track-tests-"))
    ends.callback(shutil.rmtree, folder, ignore_errors=True)
    return Servers(kafka=_kafka(folder, ends), clickhouse=_clickhouse(folder, ends))


def _kafka(folder: Path, ends: ExitStack) -> str:
    if named := os.environ.get("TRACK_KAFKA"):
        _taken.append(f"Kafka: {named}, named by TRACK_KAFKA")
        return named
    if _docker_has(KAFKA_IMAGE):
        from testcontainers.kafka import KafkaContainer

        container = KafkaContainer(KAFKA_IMAGE).with_kraft()
        container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        ends.enter_context(container)
        _taken.append(f"Kafka: {KAFKA_IMAGE}, by testcontainers")
        return str(container.get_bootstrap_server())
    kafka = start_kafka(folder / "kafka")
    ends.callback(kafka.stop)
    _taken.append(f"Kafka: local, {kafka.address}")
    return kafka.address


def _clickhouse(folder: Path, ends: ExitStack) -> str:
    if named := os.environ.get("TRACK_CLICKHOUSE"):
        _taken.append("ClickHouse: named by TRACK_CLICKHOUSE")
        return named
    if _docker_has(CLICKHOUSE_IMAGE):
        from testcontainers.clickhouse import ClickHouseContainer

        container = ClickHouseContainer(CLICKHOUSE_IMAGE, username="track", password="track")
        ends.enter_context(container)
        _taken.append(f"ClickHouse: {CLICKHOUSE_IMAGE}, by testcontainers")
        host, port = container.get_container_host_ip(), container.get_exposed_port(8123)
        return f"http://track:track@{host}:{port}"
    clickhouse = start_clickhouse(folder / "clickhouse")
    ends.callback(clickhouse.stop)
    _taken.append(f"ClickHouse: local, HTTP port {clickhouse.ports.http}")
    return clickhouse.address


def _docker_has(image: str) -> bool:
    """Whether a Docker engine answers and has the image already."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "image", "inspect", image]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
