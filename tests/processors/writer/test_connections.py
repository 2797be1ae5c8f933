"""One attempt is one send, over a connection that is open before the question is asked."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from processors.writer.connections import Gate, NotSentError, SentOnceError, open_pool

SEND_WITHIN_S = 10.0


class _Server(http.server.ThreadingHTTPServer):
    requests = 0
    daemon_threads = True
    drops = False
    reads_after_s = 0.0


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        time.sleep(self.server.reads_after_s)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        if self.server.drops:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def _serving() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_request_goes_out_if_the_question_says_so() -> None:
    gate = Gate()
    with _serving() as server, open_pool(gate, SEND_WITHIN_S) as pool:
        with gate.attempt(lambda: True):
            pool.request("POST", f"http://127.0.0.1:{server.server_port}/", body=b"1")
        assert gate.sent
        assert server.requests == 1


def test_sending_may_take_longer_than_connecting() -> None:
    """On a new connection and on one that is open; more than the kernel takes off our hands."""
    gate = Gate()
    with _serving() as server, open_pool(gate, SEND_WITHIN_S) as pool:
        server.reads_after_s = 0.5
        for _ in range(2):
            with gate.attempt(lambda: True):
                pool.request(
                    "POST",
                    f"http://127.0.0.1:{server.server_port}/",
                    body=bytes(32 << 20),
                    timeout=Timeout(connect=0.1, read=SEND_WITHIN_S),
                )
        assert server.requests == 2


def test_a_late_request_does_not_go_out() -> None:
    gate = Gate()
    with _serving() as server, open_pool(gate, SEND_WITHIN_S) as pool:
        with pytest.raises(NotSentError), gate.attempt(lambda: False):
            pool.request("POST", f"http://127.0.0.1:{server.server_port}/", body=b"1")
        assert not gate.sent
        assert server.requests == 0


def test_the_question_is_asked_only_when_the_connection_is_open() -> None:
    asked: list[int] = []
    gate = Gate()

    def may_send() -> bool:
        asked.append(1)
        return True

    with open_pool(gate, SEND_WITHIN_S) as pool, gate.attempt(may_send), pytest.raises(HTTPError):
        pool.request("POST", "http://127.0.0.1:1/", body=b"1", timeout=2)
    assert not asked
    assert not gate.sent


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_nothing_is_sent_again_within_an_attempt(retries: int) -> None:
    gate = Gate()
    with _serving() as server, open_pool(gate, SEND_WITHIN_S) as pool:
        server.drops = True
        url = f"http://127.0.0.1:{server.server_port}/"
        with gate.attempt(lambda: True):
            with pytest.raises((HTTPError, SentOnceError)):
                pool.request("POST", url, body=b"1", retries=retries)
            with pytest.raises(SentOnceError):
                pool.request("POST", url, body=b"1", retries=retries)
        assert server.requests == 1
