"""Processors that stop fetching and say nothing: ended with the reason, started again, all once."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from pathlib import Path

import pytest

from cli.migrate import run_migrations
from cli.supervisor import StopRequests, Supervisor
from contracts.topics import Topics
from deploy.local.processes import Program
from processors.sessionizer.stream import STALL_POINT as SESSIONIZER_STALLS
from processors.writer.app import STALL_POINT as WRITER_STALLS
from runtime.clickhouse import connect_sync
from runtime.failpoints import FAILPOINT
from runtime.ready import READY_FILE
from runtime.settings import Settings
from tests.environments import environment_of
from tests.processors.sessionizer.running import (
    SESSION_TIMEOUT_MS,
    TRACK,
    read_topic,
    wait_until_processed,
)
from tests.processors.sessionizer.test_faults import assert_exactly_once, produce

DONE_WITHIN_S = 60.0


def stalling(settings: Settings, folder: Path, service: str, failpoint: str) -> Program:
    """Return a processor whose first life comes to a standstill, and no later one."""
    ready = folder / f"{service}.ready"
    environment = {**environment_of(settings), READY_FILE: str(ready)}
    lives = [{FAILPOINT: failpoint}, {FAILPOINT: ""}]

    def prepare() -> None:
        ready.unlink(missing_ok=True)
        environment.update(lives.pop(0) if lives else {})

    return Program(
        name=service,
        command=(TRACK, service),
        environment=environment,
        log=folder / f"{service}.log",
        is_ready=ready.exists,
        prepare=prepare,
    )


@pytest.mark.long
def test_a_processor_that_stands_still_is_ended_and_its_heir_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    asyncio.run(run_migrations(settings))
    asyncio.run(produce(settings, seed=31, events=300))
    short = dataclasses.replace(settings, session_timeout_ms=SESSION_TIMEOUT_MS, watchdog_s=5)
    lines: list[str] = []
    requests = StopRequests()
    supervisor = Supervisor(tmp_path / "run", requests, lines.append)
    helper = threading.Thread(target=_feed_and_end, args=(settings, requests))
    try:
        programs = [
            stalling(short, tmp_path, "sessionizer", f"{SESSIONIZER_STALLS}:3:stall"),
            stalling(short, tmp_path, "writer", f"{WRITER_STALLS}:40:stall"),
        ]
        supervisor.start_stage(programs, 60)
        helper.start()
        supervisor.watch()
    finally:
        supervisor.stop()
    helper.join(DONE_WITHIN_S)
    said = "\n".join(lines)
    for service in ("sessionizer", "writer"):
        ended = [line for line in lines if f"{service} ended" in line]
        assert "(code 70)" in ended[0]
        assert "nothing was done for" in ended[0]
        assert f"{service} works again" in said
    asyncio.run(assert_exactly_once(settings))
    assert _stored(settings) == _logged(settings)


def _feed_and_end(settings: Settings, requests: StopRequests) -> None:
    """Send more than the first lives do, wait until all of it is stored, and ask for the end."""
    try:
        for seed in range(32, 36):
            asyncio.run(produce(settings, seed=seed, events=100))
            time.sleep(0.5)
        asyncio.run(wait_until_processed(settings))
        deadline = time.monotonic() + DONE_WITHIN_S
        while _stored(settings) != _logged(settings) and time.monotonic() < deadline:
            time.sleep(0.3)
    finally:
        requests.note(time.monotonic())


def _logged(settings: Settings) -> tuple[int, ...]:
    """Return how many rows each output topic has."""
    topics = Topics.of(settings.namespace)
    counts = []
    for topic in (topics.accepted, topics.sessions, topics.rejected, topics.accepted):
        records = asyncio.run(read_topic(settings, topic))
        counts.append(sum(map(len, records.values())))
    return tuple(counts)


def _stored(settings: Settings) -> tuple[int, ...]:
    """Return how many rows each table has, and how many events a rollup counts."""
    client = connect_sync(settings)
    try:
        selects = [
            "SELECT count() FROM events",
            "SELECT count() FROM sessions",
            "SELECT count() FROM rejected_events",
            "SELECT sum(events) FROM event_counts_15m",
        ]
        return tuple(int(client.query(each).result_rows[0][0]) for each in selects)
    finally:
        client.close()
