"""Running a client's program, and judging what has come of it.

In: a stack, a client's command, the events to send, what goes wrong on the way. Out: what the
client has said and what the proxy has seen, compared with table, counts and sessions. Never: a
client that is left behind.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from contracts.topics import Topics
from runtime.clickhouse import connect_sync
from runtime.settings import Settings
from tests.compat.events import DAY, Sent, metrics_of, sessions_of
from tests.compat.installed import node_modules
from tests.environments import foreign_environment
from tests.npm.packages import node

PROGRAMS = Path(__file__).parent / "programs"
WRONG_KEY = "track_" + "0" * 48
_RUN_SECONDS = 150
_THROUGH_S = 40.0
_SELECT_ROWS = """
SELECT event_id, user_id, event, toUnixTimestamp64Milli(timestamp) FROM events
WHERE startsWith(user_id, {word:String})
"""


@dataclass(frozen=True, slots=True)
class Service:
    """The stack that clients talk to, with keys in force.

    Attributes:
        http: its base URL.
        key: a key that may write.
        settings: its settings, ClickHouse's and Kafka's addresses among them.
        reader: a client of ours whose key may read.
    """

    http: str
    key: str
    settings: Settings
    reader: httpx.Client

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.http.rpartition(":")[2])

    @property
    def topic(self) -> str:
        """The topic for producers."""
        return Topics.of(self.settings.namespace).events


@dataclass(frozen=True, slots=True)
class Told:
    """What a program has printed as its last line, and whether all of its events could be sent."""

    failed: Mapping[str, str]
    more: Mapping[str, Any]


def run_program(command: Sequence[str], given: Mapping[str, Any], seconds: int = 0) -> Told:
    """Run a client's program with what it is given, and return what it said."""
    folder = Path(tempfile.mkdtemp(prefix="track-client-"))
    try:
        file = folder / "given.json"
        file.write_text(json.dumps(given))
        done = subprocess.run(
            [*command, str(file)],
            env=foreign_environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds or _RUN_SECONDS,
            check=False,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    said = json.loads(done.stdout.splitlines()[-1])
    return Told(said.pop("failed"), said)


def node_command(program: str) -> list[str]:
    """Return the command of one of the programs for Node."""
    return [node(), str(PROGRAMS / program)]


def modules() -> str:
    """Return what a program for Node requires its packages from."""
    return str(node_modules() / "required.cjs")


def rows_of(service: Service, word: str) -> list[tuple[str, str, str, int]]:
    """Return the rows of the users whose name begins so: id, user, event, milliseconds."""
    client = connect_sync(service.settings)
    try:
        rows = client.query(_SELECT_ROWS, {"word": word}).result_rows
        return [(str(row[0]), str(row[1]), str(row[2]), int(row[3])) for row in rows]
    finally:
        client.close()


def wait_for_rows(service: Service, word: str, count: int) -> list[tuple[str, str, str, int]]:
    """Wait until so many rows are there, and a moment more, in which one too many would come."""
    deadline = time.monotonic() + _THROUGH_S
    while len(rows_of(service, word)) < count and time.monotonic() < deadline:
        time.sleep(0.3)
    time.sleep(1.0)
    return rows_of(service, word)


def require_counted_once(service: Service, word: str, taken: Iterable[Sent]) -> None:
    """Require these events of the users of a word, and no other: rows, counts and sessions."""
    wanted = {each["id"]: each for each in taken}
    rows = wait_for_rows(service, word, len(wanted))
    found = Counter(row[0].rpartition("\n")[2] for row in rows)
    assert [each for each, count in found.items() if count > 1] == []
    assert found.keys() - wanted.keys() == set(), "counted, and never taken"
    assert wanted.keys() - found.keys() == set(), "taken, and not counted"
    by_user: dict[str, list[Sent]] = {}
    for each in wanted.values():
        by_user.setdefault(each["user"], []).append(each)
    for user, events in by_user.items():
        _require_answer(service, "/metrics", user, metrics_of(events))
        _require_answer(service, "/sessions", user, sessions_of(events))


def _require_answer(service: Service, path: str, user: str, wanted: object) -> None:
    """Ask until the answer is right: counts and sessions come a moment after the rows."""
    parameters = {"start_date": DAY, "end_date": DAY, "user_id": user}
    deadline = time.monotonic() + _THROUGH_S
    while True:
        answer = service.reader.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        if answer.json()["data"] == wanted:
            return
        assert time.monotonic() < deadline, (path, user, answer.json()["data"], wanted)
        time.sleep(0.3)
