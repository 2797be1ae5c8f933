"""docs/clients.md: every code on it is run as it stands, and its numbers are those of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from runtime.clickhouse import connect_sync
from tests.compat.clients import Service, modules, node_command, run_program
from tests.compat.installed import browser, java_command, node_modules, python_with
from tests.compat.libraries import LIBRARIES, Library
from tests.compat.pages import served_pages
from tests.compat.test_browsers import SCRIPTS, Script
from tests.environments import foreign_environment
from tests.npm.packages import node

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
_PART = re.compile(r"^##+ (.+)\n((?:(?!##+ ).*\n)*)", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    (heading, language, code)
    for heading, text in _PART.findall(PAGE)
    for language, code in _BLOCK.findall(text)
]
PYTHONS = {
    "segment-analytics-python": ("segment", "segment-2.3"),
    "RudderStack": ("rudder",),
    "posthog": ("posthog",),
    "Over HTTP": ("kafka",),
    "Through Kafka": ("kafka",),
    "aiokafka": ("kafka",),
    "confluent-kafka": ("kafka",),
}
CASES = [
    (heading, language, code, clients)
    for heading, language, code in EXAMPLES
    for clients in (PYTHONS[heading] if language == "python" else ("",))
]
TOLD = {
    "taken": "200",
    "400": "400, 401",
    "413": "413",
    "429 twice": "429 twice",
    "503": "503 once",
    "503 thrice": "503 thrice",
    "answer lost": "no answer once",
    "answer lost thrice": "no answer thrice",
}
_THROUGH_S = 30.0
_RUN_S = 60
_SELECT = """
SELECT event, metadata.song_id::String FROM events WHERE user_id = {user:String}
"""
_TOLD_TO_BE_QUEUED = "<script>window.queued = true; window.told = () => ({ failed: {} })</script>"


@pytest.mark.parametrize(
    ("heading", "language", "code", "clients"),
    CASES,
    ids=[f"{heading} {clients or language}" for heading, language, _, clients in CASES],
)
def test_every_example_arrives(
    service: Service, tmp_path: Path, heading: str, language: str, code: str, clients: str
) -> None:
    user = f"{language}-{heading}-{clients}".replace(" ", "-").replace("/", "-")
    here = (
        re.sub(r"\bada\b", user, code)
        .replace("http://127.0.0.1:8000", service.http)
        .replace("127.0.0.1:9092", service.settings.kafka)
        .replace("track.events", service.topic)
        .replace("KEY", service.key)
    )
    match language:
        case "python":
            run([python_with(clients), "-c", here], tmp_path)
        case "js":
            run([node(), "--eval", here], tmp_path, NODE_PATH=str(node_modules()))
        case "html":
            open_page(here)
        case "java":
            source = tmp_path / "Example.java"
            source.write_text(here)
            run(java_command(source, tmp_path), tmp_path)
        case _:
            pytest.fail(f"{language} of {heading} is run by nothing")
    wait_for_play(service, user)


def test_the_answers_are_those_that_the_tests_see() -> None:
    for library in LIBRARIES:
        assert table()[library.name] == {
            told: cell_of(library, name) for name, told in TOLD.items()
        }


@pytest.mark.parametrize(
    "script",
    [each for each in SCRIPTS if not each.is_by_user],
    ids=lambda each: each.name,
)
def test_the_answers_to_page_scripts_are_those_that_the_tests_see(script: Script) -> None:
    cells = table()[script.name]
    for name in ("taken", "400", "413"):
        dropped = " x" if name != "taken" else ""
        assert cells[TOLD[name]] == f"{script.requests[name]}{dropped}"
    for name, told in (
        ("429", "429 twice"),
        ("503", "503 once"),
        ("answer lost", "no answer once"),
    ):
        again = "repeats, waits" if name in script.waits else "repeats"
        assert cells[told] == (again if script.requests[name] == 2 else "1 x"), told


def cell_of(library: Library, name: str) -> str:
    """Return what the page says of a library and an answer."""
    cell = str(library.requests[name])
    if name in library.drops or (name == "answer lost thrice" and library.names_failures):
        cell += " x"
    if name == "413" and library.requests[name] == 2:
        cell += ", in halves"
    return f"{cell}, waits" if name in library.waits else cell


def table() -> Mapping[str, Mapping[str, str]]:
    """Return the cells of the page's table of answers, by client and answer."""
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in re.findall(r"^\|.*\|$", dict(_PART.findall(PAGE))[_ANSWERS], re.MULTILINE)
    ]
    head, _, *clients = rows
    return {name: dict(zip(head[1:], cells, strict=True)) for name, *cells in clients}


_ANSWERS = "What each does with an answer"


def run(command: list[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**foreign_environment(), "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def open_page(code: str) -> None:
    """Open the code as a page, which says nothing on its console."""
    page = f'<!doctype html><link rel="icon" href="data:,">\n<body>{code}{_TOLD_TO_BE_QUEUED}'
    with served_pages({}, {"example.html": page}) as base:
        given = {
            "modules": modules(),
            "browser": browser(),
            "page": f"{base}/example.html",
            "within_ms": 20_000,
            "linger_ms": 5_000,
        }
        assert run_program(node_command("browser.mjs"), given).more["said"] == []


def wait_for_play(service: Service, user: str) -> None:
    """Wait until the play of a user is there, with its song."""
    client = connect_sync(service.settings)
    deadline = time.monotonic() + _THROUGH_S
    try:
        while True:
            rows = client.query(_SELECT, {"user": user}).result_rows
            if [tuple(row) for row in rows if row[0] == "play"] == [("play", "s-17")]:
                return
            assert time.monotonic() < deadline, rows
            time.sleep(0.3)
    finally:
        client.close()
