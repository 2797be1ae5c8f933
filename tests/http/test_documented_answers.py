"""Every answer that the document promises is given by a running service, as it is promised."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from ingest.dialects.table import ENTRIES, Entry
from ingest.posthog_browser import FLAGS_PATHS
from ingest.segment_browser import METRICS_PATH
from query import table as questions
from query.openapi import bad_questions
from query.question import Format
from runtime.access.keys import Scope
from runtime.http.plain_http import OPEN_PATHS
from runtime.http.protocol import MAX_HEADERS, MAX_URL_BYTES
from tests.bodies import REFUSED, TAKEN, event
from tests.fuzz.budget import BUDGET
from tests.http.asked import Asked, everything, taken
from tests.http.conftest import Strict
from tests.http.documented import check_documented, promised_codes
from tests.ingest.service import Service

DATES = "start_date=2025-01-01&end_date=2025-01-31"
# A good question to each path.
QUESTIONS = {"/sessions/open": "user_id=u", "/events": "user_id=u"}
BY_PATH = {each.path: each for each in ENTRIES}
KINDS: tuple[tuple[dict[str, str], int], ...] = (
    ({"content-type": "application/xml"}, 415),
    ({"content-encoding": "lzma"}, 415),
    ({"content-encoding": "gzip"}, 400),
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


def of_bytes(answer: bytes) -> httpx.Response:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


def ask_wire(service: Service, request: bytes) -> httpx.Response:
    with socket.create_connection(service.address, timeout=80) as connection:
        connection.sendall(request)
        return of_bytes(b"".join(iter(lambda: connection.recv(65_536), b"")))


def test_every_error_that_is_promised_is_given(served: Service, strict: Strict) -> None:
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
        for entry in ENTRIES:
            for each in everything(entry):
                answers.take(entry.method, entry.path, send(client, entry, each), each.status)
        for path in (METRICS_PATH, *FLAGS_PATHS):
            answers.take("POST", path, client.post(path), 200)
        for question in questions.ENTRIES:
            ask_everything(client, question, answers)
        for path in ("/", "/docs", "/livez", "/readyz", "/openapi.json"):
            answers.take("GET", path, client.get(path), 200)
    for method, path in operations(document):
        asked = b"%b %b" % (method.encode(), path.encode())
        for request, status in (
            (asked + b" HTTP/1.1\r\nno header\r\n\r\n", 400),
            (asked + b"?" + b"x" * MAX_URL_BYTES + b" HTTP/1.1\r\n\r\n", 414),
            (asked + b" HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
        ):
            answers.take(method, path, ask_wire(served, request), status)
    overload(strict, document, answers)
    refuse(strict, document, answers)
    for method, path, *_ in GUARDED:  # it takes 10 seconds or a minute: see below
        answers.seen.add((method.lower(), path, 408, "body_too_slow"))

    missing = set(promised_codes(document)) - answers.seen
    # Ten thousand connections at once: the same bytes are checked as an example of the document.
    excess = {(400, "too_much"), (503, "too_slow")}  # tests/query/test_streams.py has them
    assert {each[2:] for each in missing} <= {(503, "unavailable"), *excess}
    unavailable = {path for _, path, status, code in missing if (status, code) not in excess}
    assert not unavailable & {path for _, path, *_ in GUARDED}


def ask_everything(client: httpx.Client, question: questions.Entry, answers: Answers) -> None:
    """Ask in each way in which a question can be right or wrong."""
    path, good = question.path, QUESTIONS.get(question.path, DATES)
    for asked, _ in bad_questions(question):
        answers.take("GET", path, client.get(path, params=dict(asked)), 400)
    for form in Format:
        answers.take("GET", path, client.get(f"{path}?{good}&format={form}"), 200)
    found = client.get(f"{path}?{good}")
    answers.take("GET", path, found, 200)
    if "etag" in found.headers:
        again = client.get(f"{path}?{good}", headers={"if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


GUARDED = (
    ("POST", "/track", Scope.WRITE, Scope.READ),
    *((each.method, each.path, Scope.WRITE, Scope.READ) for each in ENTRIES),
    *(("GET", path, Scope.READ, Scope.WRITE) for path in questions.BY_PATH),
)


def refuse(strict: Strict, document: Any, answers: Answers) -> None:
    """Ask for what only a strict service says."""
    with httpx.Client(base_url=strict.service.url, timeout=10) as client:
        answers.take("GET", "/readyz", client.get("/readyz"), 503)

        def ask(method: str, path: str, *keys: str) -> httpx.Response:
            shown = [("authorization", f"Bearer {key}") for key in keys]
            entry = BY_PATH.get(path)
            if entry is not None:
                return send(client, entry, taken(entry), shown)
            content = event() if method == "POST" else None
            return client.request(
                method, f"{path}?{QUESTIONS.get(path, DATES)}", content=content, headers=shown
            )

        for method, path, needed, other in GUARDED:
            good, lacking = strict.keys[needed], strict.keys[other]
            for keys, status in (([], 401), (["x"], 401), ([good, good], 401), ([lacking], 403)):
                answers.take(method, path, ask(method, path, *keys), status)
            answers.take(method, path, ask(method, path, good), 503)
        for method, path, needed, _ in GUARDED:
            told = (ask(method, path, strict.keys[needed]) for _ in range(500))
            limited = next(each for each in told if each.status_code != 503)
            answers.take(method, path, limited, 429)
        for method, path in operations(document):
            if path.encode() not in OPEN_PATHS:
                plain = client.request(method, path, headers={"x-forwarded-proto": "http"})
                answers.take(method, path, plain, 403)


def send(
    client: httpx.Client, entry: Entry, asked: Asked, shown: Sequence[tuple[str, str]] = ()
) -> httpx.Response:
    """Send a request to a route of the table, with these headers more."""
    return client.request(
        entry.method,
        f"{entry.path}?{asked.query}",
        content=asked.content,
        headers=[*asked.headers.items(), *shown],
    )


def overload(strict: Strict, document: Any, answers: Answers) -> None:
    """Ask while a body under way has taken of the memory that there is for bodies."""
    service, key = strict.service, strict.keys[Scope.WRITE].encode()
    with socket.create_connection(service.address, timeout=10) as connection:
        connection.sendall(
            b"POST /track HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"
            b"X-Write-Key: %b\r\n\r\n" % key
        )
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{")
        for method, path in operations(document):
            head = b"%b %b HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
            asked = head % (method.encode(), path.encode())
            answers.take(method, path, ask_wire(service, asked), 503)


def operations(document: Any) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, item in document["paths"].items() for method in item]


@pytest.mark.skipif(not BUDGET.is_long, reason="it waits for a minute: make fuzz")
@pytest.mark.parametrize("path", ["/track", "/track/batch"])
def test_a_body_that_does_not_come_is_answered_as_documented(served: Service, path: str) -> None:
    document = httpx.get(served.url + "/openapi.json", timeout=5).json()
    asked = b"POST %b HTTP/1.1\r\nContent-Length: 9\r\n\r\n{" % path.encode()
    Answers(document).take("POST", path, ask_wire(served, asked), 408)


def test_it_is_served_by_each_service_to_every_page(served: Service) -> None:
    answer = httpx.get(served.url + "/openapi.json", headers={"origin": "https://x.example"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"/track", "/metrics", "/sessions"} <= set(json.loads(answer.content)["paths"])
