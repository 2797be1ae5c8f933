"""Processes are found again by their notes, and only the right ones."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from deploy.local.processes import (
    Program,
    ServerError,
    clear_left_over,
    last_lines,
    shorten_log,
    start,
    started_at,
    wait_until_ready,
)


def program(folder: Path, code: str, *, ready: bool = True) -> Program:
    return Program(
        name="sleeper",
        command=(sys.executable, "-c", code),
        environment=dict(os.environ),
        log=folder / "sleeper.log",
        is_ready=lambda: ready,
        grace_s=0.3,
    )


def test_what_a_killed_starter_left_is_ended_with_its_children(tmp_path: Path) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    running = start(program(tmp_path, code), tmp_path / "run")
    assert clear_left_over(tmp_path / "run") == [f"sleeper (pid {running.pid})"]
    assert running.exit_code is not None
    assert list((tmp_path / "run").iterdir()) == []


def test_one_whose_first_thread_is_dead_is_ended_all_the_same(tmp_path: Path) -> None:
    """A Java that is killed holds its ports until its last thread is gone."""
    code = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=[60]).start(); "
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    running = start(program(tmp_path, code), tmp_path / "run")
    while started_at(running.pid) is not None:
        time.sleep(0.01)
    assert clear_left_over(tmp_path / "run") == [f"sleeper (pid {running.pid})"]
    assert running.exit_code is not None


def test_a_process_that_got_a_noted_number_later_is_left_alone(tmp_path: Path) -> None:
    note = {"pid": os.getppid(), "started": "another boot:1"}
    (tmp_path / "kafka.json").write_text(json.dumps(note))
    (tmp_path / "broken.json").write_text("{")
    assert clear_left_over(tmp_path) == []
    assert started_at(os.getppid()) is not None


def test_one_that_ignores_the_wish_is_killed_after_its_grace(tmp_path: Path) -> None:
    ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN)"
    code = f"{ignoring}; print(1, flush=True); time.sleep(60)"
    running = start(program(tmp_path, code), tmp_path / "run")
    while not running.program.log.read_text():
        assert running.exit_code is None
        time.sleep(0.01)
    assert not running.stop()
    assert running.exit_code == -signal.SIGKILL


def test_an_end_while_starting_is_told_with_the_log(tmp_path: Path) -> None:
    running = start(program(tmp_path, "exit('no disk')", ready=False), tmp_path / "run")
    with pytest.raises(ServerError, match=r"ended with code 1 while starting.*no disk"):
        wait_until_ready(running, 10)


def test_a_long_log_is_moved_aside_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (21 * 1024 * 1024))
        writer.flush()
        shorten_log(log)
        writer.write(b"and on\n")
    assert log.read_text() == "and on\n"
    assert (tmp_path / "a.log.1").stat().st_size == 21 * 1024 * 1024


def test_last_lines_of_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none") == "(there is none)"
