"""Either processor is killed in the middle of the demo, at each named point; no number changes.

Real servers, `track serve`, and `track demo`, which compares every answer with what the pure
functions expect of the log. Both processors die in the same run, and are started again. The points
that a demo does not pass (rows that ClickHouse refuses, a rollup that is behind) have tests beside
the writer's.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest

from cli.addresses import Stack, publish_stack
from cli.migrate import run_migrations
from cli.verify import verify
from deploy.local.machine import free_port
from deploy.local.processes import started_at
from runtime.failpoints import FAILPOINT
from runtime.settings import Settings
from tests.benchmarks.programs import beside_python, track
from tests.conftest import Servers, settings_on
from tests.environments import environment_of

KILLED = -signal.SIGKILL
SESSION_TIMEOUT_MS = 6_000  # the least that a broker grants
DIES_WITHIN_S, DEMO_WITHIN_S = 60, 120

# (the sessionizer's point, the points of the writer's lives one after the other)
KILLS = [
    ("sessionizer.before_begin:4", ["before_intent:4"]),
    ("sessionizer.after_begin:4", ["after_intent:4"]),
    ("sessionizer.after_send:4", ["before_send:4"]),
    ("sessionizer.before_commit:4", ["after_insert:4"]),
    ("sessionizer.after_commit:4", ["before_plain_commit:2"]),
    ("sessionizer.after_send:2", ["after_plain_commit:2"]),
    ("sessionizer.before_commit:2", ["before_send:2", "before_redo:1"]),
    ("sessionizer.after_commit:2", ["after_insert:2", "after_redo:1"]),
]


@pytest.fixture(scope="module")
def served(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A migrated pipeline with its HTTP services, found by `track demo`; no processors."""
    settings = dataclasses.replace(
        settings_on(servers, tmp_path_factory.mktemp("killed")),
        port=free_port(),
        session_timeout_ms=SESSION_TIMEOUT_MS,
    )
    anyio.run(run_migrations, settings)
    with track(settings, "serve"):
        publish_stack(
            settings.home,
            Stack(
                pid=os.getpid(),
                started=started_at(os.getpid()),
                http=f"http://127.0.0.1:{settings.port}",
                kafka=settings.kafka,
                clickhouse=settings.clickhouse,
                analyst="",
                namespace=settings.namespace,
                partitions=settings.partitions,
            ),
        )
        yield settings


@pytest.mark.parametrize(("sessionizer_dies", "writer_dies"), KILLS)
def test_a_kill_changes_no_number(
    served: Settings, tmp_path: Path, sessionizer_dies: str, writer_dies: Sequence[str]
) -> None:
    with ExitStack() as running:

        def start(name: str, *options: str, dies: str = "") -> subprocess.Popen[bytes]:
            command = [beside_python("track"), name, *options]
            return running.enter_context(_running(served, command, tmp_path / name, dies))

        sessionizer = start("sessionizer", dies=sessionizer_dies)
        writer = start("writer", dies=writer_dies[0])
        demo = start("demo", "--users", "300", "--events", "6000")
        assert sessionizer.wait(DIES_WITHIN_S) == KILLED
        start("sessionizer")
        for point in writer_dies[1:]:
            assert writer.wait(DIES_WITHIN_S) == KILLED
            writer = start("writer", dies=point)
        assert writer.wait(DIES_WITHIN_S) == KILLED
        assert demo.poll() is None, "the demo ended before the writer was killed"
        start("writer")
        code = demo.wait(DEMO_WITHIN_S)
        assert code == 0, (tmp_path / "demo").read_text()
        assert verify(served), "topics, tables and rollups do not agree"


@contextmanager
def _running(
    settings: Settings, command: Sequence[str], output: Path, failpoint: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until it dies at the failpoint or the block ends."""
    environment = {**environment_of(settings), FAILPOINT: failpoint}
    with (
        output.open("ab") as words,
        subprocess.Popen(command, env=environment, stdout=words, stderr=words) as process,
    ):
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
