"""Every answer that the document promises is given by a running service, as it is promised."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.bodies import REFUSED, TAKEN, event
from tests.http.documented import check_documented, promised_codes
from tests.ingest.service import Service

DATES = "start_date=2025-01-01&end_date=2025-01-31"
QUESTIONS = {
    "": 400,
    "start_date=2025-01-01&end_date=2025-1-31": 400,
    "start_date=2025-01-02&end_date=2025-01-01": 400,
    f"{DATES}&group_by=year": 400,
    f"{DATES}&timezone=Mars/Olympus": 400,
    f"{DATES}&user_id=": 400,
    DATES: 200,
    f"{DATES}&group_by=month&user_id=u&timezone=Asia/Kathmandu": 200,
}
KINDS: tuple[tuple[dict[str, str], int], ...] = (
    ({"content-type": "application/xml"}, 415),
    ({"content-encoding": "lzma"}, 415),
    ({"idempotency-key": '"open'}, 400),
)


@dataclass
class Answers:
    """Answers held against the document, and the errors among them."""

    document: dict[str, Any]
    seen: set[tuple[str, str, int, str]] = field(default_factory=set)

    def take(self, method: str, path: str, answer: httpx.Response, status: int) -> None:
        assert answer.status_code == status, (path, answer.text[:200])
        headers = {name.lower(): value for name, value in answer.headers.items()}
        check_documented(self.document, method, path, status, headers, answer.content)
        if status >= 400:
            self.seen.add((method.lower(), path, status, answer.json()["code"]))


@pytest.fixture(scope="module")
def slow(served: Service) -> Iterator[list[bytes]]:
    """The answer to a body that does not come, asked for beside all the rest."""
    answers: list[bytes] = []

    def wait() -> None:
        with socket.create_connection(served.address, timeout=20) as connection:
            connection.sendall(b"POST /track HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            answers.append(b"".join(iter(lambda: connection.recv(65_536), b"")))

    thread = threading.Thread(target=wait)
    thread.start()
    yield answers
    thread.join(20)


def of_bytes(answer: bytes) -> httpx.Response:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


def ask_wire(service: Service, request: bytes) -> httpx.Response:
    with socket.create_connection(service.address, timeout=10) as connection:
        connection.sendall(request)
        return of_bytes(b"".join(iter(lambda: connection.recv(65_536), b"")))


def test_every_error_that_is_promised_is_given(
    served: Service, alone: Service, slow: list[bytes]
) -> None:
    document = httpx.get(served.url + "/openapi.json", timeout=5).json()
    answers = Answers(document)
    with httpx.Client(base_url=served.url, timeout=10) as client:
        for body in TAKEN.values():
            answers.take("POST", "/track", client.post("/track", content=body), 200)
        for body, status, _ in REFUSED.values():
            answers.take("POST", "/track", client.post("/track", content=body), status)
        for headers, status in KINDS:
            answer = client.post("/track", content=event(), headers=headers)
            answers.take("POST", "/track", answer, status)
        for path in ("/metrics", "/sessions"):
            for query, status in QUESTIONS.items():
                answers.take("GET", path, client.get(f"{path}?{query}"), status)
        for path in ("/", "/livez", "/readyz", "/openapi.json"):
            answers.take("GET", path, client.get(path), 200)
    for path, item in document["paths"].items():
        for method in item:
            request = b"%b %b HTTP/1.1\r\nno header\r\n\r\n" % (
                method.upper().encode(),
                path.encode(),
            )
            answers.take(method, path, ask_wire(served, request), 400)
    with httpx.Client(base_url=alone.url, timeout=10) as client:
        answers.take("POST", "/track", client.post("/track", content=event()), 503)
        answers.take("GET", "/readyz", client.get("/readyz"), 503)
        for path in ("/metrics", "/sessions"):
            answers.take("GET", path, client.get(f"{path}?{DATES}"), 503)
    while not slow:
        threading.Event().wait(0.05)
    answers.take("POST", "/track", of_bytes(slow[0]), 408)

    missing = set(promised_codes(document)) - answers.seen
    # Ten thousand connections at once: the same bytes are checked as an example of the document.
    assert {each[2:] for each in missing} <= {(503, "unavailable")}
    assert not {"/track", "/metrics", "/sessions"} & {path for _, path, _, _ in missing}


def test_it_is_served_by_each_service_to_every_page(served: Service) -> None:
    answer = httpx.get(served.url + "/openapi.json", headers={"origin": "https://x.example"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"/track", "/metrics", "/sessions"} <= set(json.loads(answer.content)["paths"])
