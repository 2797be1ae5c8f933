"""`track forget` killed at every named point, done twice at once, overtaken by the user."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from cli.forgetting.run import FAILPOINTS
from tests.cli.forgetting.lives import Implied, event, live, mark_of
from tests.cli.forgetting.living import Living
from tests.processors.sessionizer.running import read_topic

pytestmark = pytest.mark.long

AMONG_COUNTS = ("forget.after_emptied", "forget.after_filled")
ONE = "forget.after_left"


def cut_off_and_again(living: Living, name: str) -> None:
    """Kill the command at a point; the next one ends it."""
    user_id = f"user-{name}"
    live(living, user_id)
    others, counted = living.of_others(user_id), living.of_all()
    assert living.run_process("forget", user_id, "--yes", failpoint=name).returncode == (
        -signal.SIGKILL
    )
    living.say("forget", user_id)
    done = living.run_process("forget", user_id, "--yes")
    assert done.returncode == 0, done.stdout
    living.wait_until_done()
    assert living.traces_of(user_id) == []
    assert living.of_others(user_id) == others
    assert living.of_all() == counted


def test_it_is_killed_and_done_again(living: Living) -> None:
    with living.working():
        cut_off_and_again(living, ONE)
        assert "✗" not in living.say("verify")


def test_it_is_killed_at_every_point_and_done_again(living: Living) -> None:
    with living.working():
        for name in FAILPOINTS:
            if name not in (*AMONG_COUNTS, ONE):
                cut_off_and_again(living, name)
        assert "✗" not in living.say("verify")


@contextmanager
def paused(living: Living, user_id: str, failpoint: str) -> Iterator[None]:
    """Let the command stand still at a point while the block lasts, and then end."""
    process = living.start_process("forget", user_id, "--yes", failpoint=f"{failpoint}:1:pause")
    try:
        seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert seen is not None
        assert seen.si_code == os.CLD_STOPPED, process.communicate()[0]
        yield
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    finally:
        process.kill()
        process.communicate()


def test_a_user_who_comes_back_while_the_counts_are_merged(living: Living) -> None:
    user_id = "barbara"
    with living.working():
        live(living, user_id, "grace")
        others, counted = living.of_others(user_id), Counter(living.counts_of(user_id))
        with paused(living, user_id, "forget.after_wait"):
            # In quarters of an hour that are counted already, so that ClickHouse adds both up.
            living.send(
                event("buy", user_id, 46), event("buy", user_id, 45), event("pause", user_id, 1)
            )
            living.wait_until_done()
            living.sql("OPTIMIZE TABLE user_counts_15m FINAL")
            assert living.counts_of(user_id) == dict(counted + Counter(buy=2, pause=1))
        assert living.counts_of(user_id) == {"buy": 2, "pause": 1}
        assert living.of_others(user_id) == others
        assert "✗" not in living.say("verify")


def test_two_at_once_end_in_the_same(living: Living) -> None:
    user_id = "twice"
    with living.working():
        live(living, user_id)
        others, counted = living.of_others(user_id), living.of_all()
        both = [living.start_process("forget", user_id, "--yes") for _ in range(2)]
        said = [process.communicate(timeout=100)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        living.wait_until_done()
        assert living.traces_of(user_id) == []
        assert living.of_others(user_id) == others
        assert living.of_all() == counted
        assert "✗" not in living.say("verify")


class Load(threading.Thread):
    """Users who do something all the time, while merges go on."""

    def __init__(self, living: Living, user_ids: list[str]) -> None:
        super().__init__(daemon=True)
        self.ends = threading.Event()
        self.sent = 0
        self._living, self._user_ids = living, user_ids

    def run(self) -> None:
        """Send until the end."""
        while not self.ends.is_set():
            names = ("play", "stop", "pause")
            self._living.send(
                *({"event": names[self.sent % 3], "user_id": each} for each in self._user_ids)
            )
            self.sent += 1


def test_under_load_log_and_mark_say_what_there_is(living: Living) -> None:
    user_id, others = "busy", [f"other-{number}" for number in range(20)]
    with living.working():
        live(living, user_id)
        load = Load(living, [user_id, *others])
        load.start()
        try:
            time.sleep(2)
            done = living.run_process("forget", user_id, "--yes")
            time.sleep(2)
        finally:
            load.ends.set()
            load.join(30)
        assert done.returncode == 0, done.stdout
        living.wait_until_done()
        mark = mark_of(living, user_id)
        rows = [
            msgspec.json.decode(record.value)
            for record in asyncio.run(read_topic(living.settings, living.topics.accepted))[
                mark.partition
            ]
        ]
        since = [
            row["event"]
            for row in rows
            if row["user_id"] == user_id and row["log_offset"] >= mark.offsets[mark.partition]
        ]
        assert since
        assert living.counts_of(user_id) == dict(Counter(since))
        select = "SELECT event, count() FROM events WHERE user_id = {u:String} GROUP BY event"
        assert dict(living.rows(select, u=user_id)) == dict(Counter(since))
        sessions = "SELECT session_id FROM sessions WHERE user_id = {u:String}"
        found = [session_id for (session_id,) in living.rows(sessions, u=user_id)]
        assert sorted(found) == sorted(Implied(living, user_id).session_ids)
        assert found
        assert "✗" not in living.say("verify")
    assert load.sent > 5
