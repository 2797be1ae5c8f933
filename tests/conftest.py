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
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

from deploy.local.clickhouse import start_clickhouse
from deploy.local.kafka import start_kafka
from runtime.settings import Settings
from tests.containers.servers import (
    CLICKHOUSE_IMAGE,
    KAFKA_IMAGE,
    clickhouse_in_container,
    has_image,
    kafka_in_container,
)
from tests.running_stack import RunningStack, running_stack

# How long one example takes says nothing where the machine has other work; hypothesis has the same
# for CI, and there keeps its own.
hypothesis.settings.register_profile(
    "track", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
if "CI" not in os.environ:
    hypothesis.settings.load_profile("track")

_PARTITIONS = 4
_SHARED = "servers"
_OF_THE_STACK = "tests/stack"  # of the files in it, not of those below
INPUTS = "inputs"  # under this name a fuzzing test says how many it has tried
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


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # its library has no types
    """Gives a file to one worker; and to one all that share a whole stack, which starts it once."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        folder = file.rpartition("/")[0]
        return folder if folder == _OF_THE_STACK else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Deal out tests as `_ByFile` does where `make test` asks for that."""
    return _ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


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
    """Say which servers the run has used, and how much was tried."""
    for line in _taken:
        terminalreporter.write_line(line)
    tried = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == INPUTS
    ]
    if tried:
        terminalreporter.write_line(f"Fuzzing: {sum(tried):,} inputs to {len(tried)} readers")


def _start_servers(ends: ExitStack) -> Servers:
    folder = Path(tempfile.mkdtemp(prefix="track-tests-"))
    ends.callback(shutil.rmtree, folder, ignore_errors=True)
    return Servers(kafka=_kafka(folder, ends), clickhouse=_clickhouse(folder, ends))


def _kafka(folder: Path, ends: ExitStack) -> str:
    if named := os.environ.get("TRACK_KAFKA"):
        _taken.append(f"Kafka: {named}, named by TRACK_KAFKA")
        return named
    if has_image(KAFKA_IMAGE):
        _taken.append(f"Kafka: {KAFKA_IMAGE}, by testcontainers")
        return kafka_in_container(ends)
    kafka = start_kafka(folder / "kafka")
    ends.callback(kafka.stop)
    _taken.append(f"Kafka: local, {kafka.address}")
    return kafka.address


def _clickhouse(folder: Path, ends: ExitStack) -> str:
    if named := os.environ.get("TRACK_CLICKHOUSE"):
        _taken.append("ClickHouse: named by TRACK_CLICKHOUSE")
        return named
    if has_image(CLICKHOUSE_IMAGE):
        _taken.append(f"ClickHouse: {CLICKHOUSE_IMAGE}, by testcontainers")
        return clickhouse_in_container(ends)
    clickhouse = start_clickhouse(folder / "clickhouse")
    ends.callback(clickhouse.stop)
    _taken.append(f"ClickHouse: local, HTTP port {clickhouse.ports.http}")
    return clickhouse.address
