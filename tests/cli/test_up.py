"""`track up` as a program: checks, signals, restarts, and what a killed run leaves.

Services are placeholders, and most tests name servers that nobody asks, so a stack is up in a
second; one test has the real servers.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.addresses import find_stack, with_stack
from cli.folder import clear_folder
from cli.keys import add_key
from cli.metrics_ports import TARGETS
from cli.servers import local_partitions
from runtime.access.keys import Scope
from runtime.settings import Settings
from tests.running_stack import (
    RunningStack,
    processes_of,
    running_stack,
    stack_environment,
    start_up,
    wait_for_stack,
)

PLACEHOLDERS = (sys.executable, str(Path(__file__).with_name("placeholder_stack.py")))
ENDS = "Ctrl-C stops everything."
NAMED = {"TRACK_KAFKA": "127.0.0.1:1", "TRACK_CLICKHOUSE": "http://track:secret@127.0.0.1:1"}


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def refused(environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        PLACEHOLDERS, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def noted_pid(stack: RunningStack, part: str) -> int:
    text = (stack.home / "run" / f"{part}.json").read_text()
    return int(text.partition('"pid": ')[2].partition(",")[0])


@pytest.mark.parametrize(("cores", "partitions"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_topics_have_a_partition_a_core_and_keep_them(
    tmp_path: Path, cores: int, partitions: int
) -> None:
    assert local_partitions(tmp_path / "kafka", cores) == partitions
    assert local_partitions(tmp_path / "kafka", 3) == partitions


def test_a_kafka_that_does_not_say_has_four_partitions(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    assert local_partitions(tmp_path / "kafka", 2) == 4


def test_prints_addresses_and_three_requests_and_leaves_nothing(tmp_path: Path) -> None:
    with running_stack(tmp_path, PLACEHOLDERS, **NAMED) as stack:
        words = said(stack, ENDS)
        assert stack.http in words
        assert words.count(f"curl {stack.http}/track ") == 2
        assert f"curl '{stack.http}/sessions?start_date=" in words
        assert '"event":"play"' in words
        assert '"event":"stop"' in words
    assert "Stopped; nothing is left running." in (tmp_path / "output").read_text()
    assert find_stack(tmp_path) is None


def said(stack: RunningStack, last: str, times: int = 1) -> str:
    """What a stack has said, once it has said this so often; it answers a moment before."""
    for _ in range(100):
        if (words := stack.output.read_text()).count(last) == times:
            return words
        time.sleep(0.1)
    raise AssertionError(words)


def test_other_commands_find_the_stack_as_long_as_it_runs(tmp_path: Path) -> None:
    with running_stack(tmp_path, PLACEHOLDERS, **NAMED, TRACK_PARTITIONS="7") as stack:
        found = with_stack(Settings(home=tmp_path))
        assert f"http://{found.host}:{found.port}" == stack.http
        assert (found.kafka, found.clickhouse) == (NAMED["TRACK_KAFKA"], NAMED["TRACK_CLICKHOUSE"])
        assert found.partitions == 7
        assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600
        # Who finds the stack finds the addresses for Prometheus: they were written before.
        written = [(tmp_path / name).stat().st_ctime_ns for name in (TARGETS, "stack.json")]
        assert written == sorted(written)
    assert with_stack(Settings(home=tmp_path)) == Settings(home=tmp_path)


def test_a_busy_port_is_one_sentence_that_names_its_setting(tmp_path: Path) -> None:
    environment = stack_environment(tmp_path)
    with socket.create_server(("127.0.0.1", int(environment["TRACK_CLICKHOUSE_PORT"]))):
        code, words = refused(environment)
    assert code == 1
    port = environment["TRACK_CLICKHOUSE_PORT"]
    assert f"Port {port} is in use by another program; set TRACK_CLICKHOUSE_PORT" in words
    assert not (tmp_path / "logs").exists()


def test_it_says_who_may_come_in(tmp_path: Path) -> None:
    with running_stack(tmp_path, PLACEHOLDERS, **NAMED) as stack:
        words = said(stack, ENDS)
        assert "Keys        none asked for: open to this machine alone" in words
        assert "TRACK_KEY" not in words
    add_key(tmp_path / "keys", "a", [Scope.WRITE], datetime.now(UTC))
    everywhere = {"TRACK_HOST": "0.0.0.0", "TRACK_PLAIN_HTTP": "yes"}
    with running_stack(tmp_path, PLACEHOLDERS, **NAMED, **everywhere) as stack:
        words = said(stack, ENDS, 2).rpartition("Everything answers")[2]
        assert f"Keys        1 key in {tmp_path}/keys" in words
        assert words.count(' -H "Authorization: Bearer $TRACK_KEY"') == 3


def test_without_keys_it_listens_to_nobody_else(tmp_path: Path) -> None:
    code, words = refused(stack_environment(tmp_path, **NAMED, TRACK_HOST="0.0.0.0"))
    assert code == 78
    (sentence,) = words.splitlines()
    assert "`track keys new NAME`" in sentence
    assert not (tmp_path / "run").exists()


def test_two_settings_with_one_port_are_refused(tmp_path: Path) -> None:
    environment = stack_environment(tmp_path)
    environment["TRACK_PORT"] = environment["TRACK_KAFKA_PORT"]
    code, words = refused(environment)
    assert code == 1
    assert "TRACK_PORT and TRACK_KAFKA_PORT are both" in words


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, words = refused(stack_environment(tmp_path / "file" / "home", **NAMED))
    assert code == 1
    assert "cannot be written" in words


def test_a_service_that_refuses_to_start_ends_the_stack_with_its_sentence(tmp_path: Path) -> None:
    sentence = "The log id of Kafka and of ClickHouse differ; run track repair."
    code, words = refused(stack_environment(tmp_path, **NAMED, REFUSE_WRITER=sentence))
    assert code == 78
    assert sentence in words
    assert processes_of(tmp_path) == []


def test_a_second_start_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with running_stack(tmp_path, PLACEHOLDERS, **NAMED) as stack:
        code, words = refused(stack_environment(tmp_path, **NAMED))
        assert code == 1
        assert f"A stack runs in {tmp_path} already (pid {stack.process.pid}" in words
        assert stack.process.poll() is None


def test_two_stacks_run_side_by_side(tmp_path: Path) -> None:
    with (
        running_stack(tmp_path / "one", PLACEHOLDERS, **NAMED) as one,
        running_stack(tmp_path / "two", PLACEHOLDERS, **NAMED) as two,
    ):
        assert one.http != two.http


def test_a_killed_part_is_restarted_and_that_is_said(tmp_path: Path) -> None:
    with running_stack(tmp_path, PLACEHOLDERS, **NAMED) as stack:
        before = noted_pid(stack, "writer")
        os.kill(before, signal.SIGKILL)
        until(lambda: "writer works again" in stack.output.read_text(), "no restart was said")
        assert "writer ended (killed by SIGKILL); restart in 0.5 s" in stack.output.read_text()
        assert noted_pid(stack, "writer") != before


def test_an_interrupt_that_the_parent_ignored_still_ends_it(tmp_path: Path) -> None:
    command = ("sh", "-c", 'trap "" INT TERM; exec "$0" "$@"', *PLACEHOLDERS)
    with running_stack(tmp_path, command, **NAMED):
        pass


def test_a_second_interrupt_ends_a_stubborn_part_at_once(tmp_path: Path) -> None:
    output = tmp_path / "output"
    environment = stack_environment(tmp_path, **NAMED, STUBBORN="writer")
    process = start_up(environment, output, PLACEHOLDERS)
    wait_for_stack(process, tmp_path, output)
    process.send_signal(signal.SIGINT)
    until(lambda: "Stopping" in output.read_text(), "the interrupt was not heard")
    time.sleep(1.2)  # within a second two are one
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(8) == 0
    assert "writer did not end by itself; killed" in output.read_text()
    assert processes_of(tmp_path) == []


def test_it_ends_with_its_parent_where_that_is_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "output"
    environment = stack_environment(tmp_path, **NAMED, ENDS_WITH_PARENT="yes")
    parent = start_up(environment, output, ("sh", "-c", '"$0" "$@"; exit 3', *PLACEHOLDERS))
    until(lambda: find_stack(tmp_path) is not None, "the stack did not start")
    parent.kill()
    parent.wait()
    until(lambda: processes_of(tmp_path) == [], "the stack outlived its parent")


def test_a_start_removes_the_addresses_of_a_killed_run(tmp_path: Path) -> None:
    words: list[str] = []
    for name in (TARGETS, "stack.json"):
        (tmp_path / name).write_text("[]")
    clear_folder(tmp_path, words.append)
    assert list(tmp_path.iterdir()) == []
    assert len(words) == 1


def test_after_a_kill_the_next_start_says_so_and_works(tmp_path: Path) -> None:
    """With the real servers: their processes end by the kernel's signal or by the next start."""
    environment, output = stack_environment(tmp_path), tmp_path / "output"
    process = start_up(environment, output, PLACEHOLDERS)
    wait_for_stack(process, tmp_path, output)
    process.kill()
    process.wait()
    process = start_up(environment, output, PLACEHOLDERS)
    try:
        wait_for_stack(process, tmp_path, output)
        assert "An earlier run was killed" in output.read_text()
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert processes_of(tmp_path) == []
