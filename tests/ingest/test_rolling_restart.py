"""Processes that share a port end and begin under load; a ledger is held against the log."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.environments import environment_of
from tests.ingest.senders import Ledger, Outcome, send_until
from tests.ingest.service import TRACK, Service, read_events, start

pytestmark = pytest.mark.anyio
RESTARTS = 2
ENDS_WITHIN_S = 15.0
# New connections, short ones, and some that are kept as long as they last.
A_CONNECTION = (1, 1, 1, 5, 1_000_000, 1_000_000, 1_000_000)
# Of those that connect again and again, each may have one that is reset at an end.
MOST_RESET = 4


@contextmanager
def another(first: Service, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start one more process at the address of the first."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [TRACK, "ingest"], env=environment_of(first.settings), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def wait_for_listeners(port: int, count: int) -> None:
    async with asyncio.timeout(90):
        while _listeners(port) < count:  # noqa: ASYNC110  # another process sends no event
            await asyncio.sleep(0.02)


def _listeners(port: int) -> int:
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(f":{port:04X} " in line and " 0A " in line for line in lines)


async def end(process: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert time.monotonic() - began < ENDS_WITHIN_S


async def test_restarts_one_after_the_other_lose_and_refuse_nothing(
    migrated: Settings, tmp_path: Path
) -> None:
    ledger, over, log = Ledger(), asyncio.Event(), tmp_path / "more.log"
    with ExitStack() as processes:
        first = processes.enter_context(start(migrated, tmp_path))
        first.wait_until("/readyz", 200)
        senders = [
            asyncio.create_task(
                send_until(over, first.address, ledger, f"rolling-{number}", a_connection=many)
            )
            for number, many in enumerate(A_CONNECTION)
        ]
        running = first.process
        for _ in range(RESTARTS):
            successor = processes.enter_context(another(first, log))
            await wait_for_listeners(first.settings.port, 2)
            await asyncio.sleep(0.2)
            await end(running)
            running = successor
        over.set()
        await asyncio.gather(*senders)
        await end(running)
    logged = Counter(str(each.event_id) for each in await asyncio.to_thread(read_events, migrated))
    acknowledged = ledger.ids(Outcome.ACKNOWLEDGED)
    assert len(acknowledged) > 100
    assert {logged[each] for each in acknowledged} == {1}
    assert ledger.words == {}
    # A connection that comes between the last accept and the close is reset, whatever one does.
    assert len(ledger.outcomes) - len(acknowledged) <= MOST_RESET * RESTARTS, ledger.count()
    assert "Traceback" not in log.read_text() + first.log.read_text()


async def test_the_only_process_ends_and_begins_again_and_drops_no_request_it_took(
    migrated: Settings, tmp_path: Path
) -> None:
    ledger, over = Ledger(), asyncio.Event()
    with ExitStack() as processes:
        first = processes.enter_context(start(migrated, tmp_path))
        first.wait_until("/readyz", 200)
        senders = [
            asyncio.create_task(
                send_until(over, first.address, ledger, f"alone-{number}", a_connection=many)
            )
            for number, many in enumerate(A_CONNECTION)
        ]
        await asyncio.sleep(0.7)
        await end(first.process)
        successor = processes.enter_context(another(first, tmp_path / "more.log"))
        await wait_for_listeners(first.settings.port, 1)
        await asyncio.sleep(0.7)
        over.set()
        await asyncio.gather(*senders)
        await end(successor)
    logged = Counter(str(each.event_id) for each in await asyncio.to_thread(read_events, migrated))
    acknowledged, count = ledger.ids(Outcome.ACKNOWLEDGED), ledger.count()
    assert {logged[each] for each in acknowledged} == {1}
    assert ledger.words == {}
    assert count[Outcome.NOT_CONNECTED] > 0  # nobody listened for a while
    assert count[Outcome.BROKEN] + count[Outcome.TOO_LATE] <= MOST_RESET, count
