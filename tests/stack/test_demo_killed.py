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
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest

from cli.addresses import Stack, publish_stack
from cli.migrate import run_migrations
from deploy.local.machine import free_port
from deploy.local.processes import started_at
from runtime.failpoints import FAILPOINT
from runtime.settings import Settings
from tests.benchmarks.programs import track
from tests.conftest import Servers

TRACK = str(Path(sys.executable).with_name("track"))
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
        Settings(),
        home=tmp_path_factory.mktemp("killed"),
        kafka=servers.kafka,
        clickhouse=servers.clickhouse,
        namespace=f"t_killed_{os.getpid()}",
        partitions=4,
        port=free_port(),
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
        sessionizer = running.enter_context(
            _life(served, "sessionizer", tmp_path, sessionizer_dies)
        )
        writer = running.enter_context(_life(served, "writer", tmp_path, writer_dies[0]))
        demo = running.enter_context(_demo(served, tmp_path))
        assert sessionizer.wait(DIES_WITHIN_S) == KILLED
        running.enter_context(_life(served, "sessionizer", tmp_path))
        for point in writer_dies[1:]:
            assert writer.wait(DIES_WITHIN_S) == KILLED
            writer = running.enter_context(_life(served, "writer", tmp_path, point))
        assert writer.wait(DIES_WITHIN_S) == KILLED
        assert demo.poll() is None, "the demo ended before the writer was killed"
        running.enter_context(_life(served, "writer", tmp_path))
        code = demo.wait(DEMO_WITHIN_S)
        assert code == 0, (tmp_path / "demo").read_text()


@contextmanager
def _life(
    settings: Settings, name: str, folder: Path, failpoint: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a processor until it dies at the failpoint or the block ends."""
    environment = {**_environment(settings), FAILPOINT: failpoint}
    with (
        (folder / name).open("ab") as words,
        subprocess.Popen([TRACK, name], env=environment, stdout=words, stderr=words) as process,
    ):
        try:
            yield process
        finally:
            _end(process)


@contextmanager
def _demo(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [TRACK, "demo", "--users", "300", "--events", "6000"]
    with (
        (folder / "demo").open("wb") as words,
        subprocess.Popen(
            command, env=_environment(settings), stdout=words, stderr=words
        ) as process,
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


def _environment(settings: Settings) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRACK_")}
    return {
        **inherited,
        "TRACK_HOME": str(settings.home),
        "TRACK_KAFKA": settings.kafka,
        "TRACK_CLICKHOUSE": settings.clickhouse,
        "TRACK_NAMESPACE": settings.namespace,
        "TRACK_PARTITIONS": str(settings.partitions),
        "TRACK_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
    }
