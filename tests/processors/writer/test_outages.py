"""ClickHouse away, cut off in the middle, or late: the same bytes again, and every row once."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.processors.writer.pipeline import Pipeline


class _Wire:
    """A relay in front of ClickHouse that can lose answers to inserts, or take no connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.lose_answers = 0
        self.lost = 0
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self.closed:
                near.close()
                continue
            far = socket.create_connection(self._target)
            threading.Thread(target=self._relay, args=(near, far), daemon=True).start()

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        """Carry requests to and fro; an answer to an insert may get lost with its connection."""
        asked = b""
        near.settimeout(0.005)
        far.settimeout(0.005)
        with near, far, suppress(OSError):
            while True:
                with suppress(TimeoutError):
                    data = near.recv(1 << 16)
                    if not data:
                        return
                    asked = asked[-4096:] + data
                    far.sendall(data)
                with suppress(TimeoutError):
                    answer = far.recv(1 << 16)
                    if not answer:
                        return
                    if self.lose_answers and b"insert_deduplication_token" in asked:
                        self.lose_answers -= 1
                        self.lost += 1
                        return
                    asked = b""
                    near.sendall(answer)

    def close(self) -> None:
        self._listening.close()


@contextmanager
def _wire(pipeline: Pipeline) -> Iterator[tuple[_Wire, str]]:
    url = urlsplit(pipeline.settings.clickhouse)
    wire = _Wire(url.hostname or "", url.port or 8123)
    try:
        host = f"{url.username}:{url.password}@127.0.0.1:{wire.port}"
        yield wire, urlunsplit(url._replace(netloc=host))
    finally:
        wire.close()


def test_answers_that_get_lost_double_nothing(pipeline: Pipeline) -> None:
    with _wire(pipeline) as (wire, url):
        wire.lose_answers = 5
        pipeline.produce(300, poison=2)
        with pipeline.writer(TRACK_CLICKHOUSE=url) as process:
            pipeline.wait_until_done(40, process)
            wire.lose_answers = 3
            pipeline.produce(100)
            pipeline.wait_until_done(40, process)
        assert process.returncode == 0
        assert wire.lost == 8
    pipeline.assert_tables_equal_log(refused=2)
    pipeline.run_until_done()


def _open_later(wire: _Wire, folder: Path) -> None:
    """Let the writer through five seconds after it has said that nobody answers."""
    while not any("does not say how far" in each.read_text() for each in folder.glob("*.log")):
        time.sleep(0.1)
    time.sleep(5)
    wire.closed = False


def test_clickhouse_away_at_the_start_and_later(pipeline: Pipeline, tmp_path: Path) -> None:
    """For longer than the watchdog's patience, each time: whoever waits for a server is excused."""
    pipeline.produce(100)
    with _wire(pipeline) as (wire, url):
        wire.closed = True
        opened = threading.Thread(target=_open_later, args=(wire, tmp_path), daemon=True)
        opened.start()
        with pipeline.writer(TRACK_CLICKHOUSE=url, TRACK_WATCHDOG_S="4") as process:
            pipeline.wait_until_done(40, process)
            wire.closed = True
            wire.lose_answers = 4
            pipeline.produce(200)
            time.sleep(6)
            wire.closed, wire.lose_answers = False, 0
            pipeline.wait_until_done(40, process)
        opened.join()
    pipeline.assert_tables_equal_log()


def test_a_pause_longer_than_the_session_and_a_successor(pipeline: Pipeline) -> None:
    pipeline.produce(300)
    with pipeline.writer() as first:
        first.send_signal(signal.SIGSTOP)
        pipeline.produce(200)
        with pipeline.writer() as second:
            pipeline.wait_until_done(40, second)
            first.send_signal(signal.SIGCONT)
            pipeline.produce(200)
            pipeline.wait_until_done(40, second)
        assert second.returncode == 0
    assert first.returncode in (0, 70)
    pipeline.assert_tables_equal_log()


@pytest.mark.parametrize("rows", [0, 30])
def test_a_stop_while_clickhouse_is_away_is_prompt(pipeline: Pipeline, rows: int) -> None:
    with _wire(pipeline) as (wire, url):
        with pipeline.writer(TRACK_CLICKHOUSE=url) as process:
            wire.closed = True
            pipeline.produce(rows)
            time.sleep(1)
            began = time.monotonic()
            process.terminate()
            process.wait(20)
        assert process.returncode == 0
        assert time.monotonic() - began < 12
