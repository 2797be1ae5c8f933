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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import httpx

from contracts.topics import Topics
from runtime.clickhouse import connect_sync
from runtime.settings import Settings
from tests.compat.events import Sent, day_of, metrics_of, sessions_of
from tests.compat.installed import node_modules
from tests.environments import foreign_environment
from tests.npm.packages import node

Counts: TypeAlias = Mapping[str, object]

PROGRAMS = Path(__file__).parent / "programs"
WRONG_KEY = "track_" + "0" * 48
_RUN_SECONDS = 150
_THROUGH_S = 40.0
# What page scripts say of their own accord.
_BESIDE = ("identify", "$identify", "$pageview", "$pageleave", "$set")
_SELECT_ROWS = """
SELECT event_id, user_id, event, toUnixTimestamp64Milli(timestamp),
    ifNull(metadata.n::Nullable(Int64), -1)
FROM events WHERE startsWith(user_id, {word:String})
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
    """What a program has printed as its last line: which events have failed and why, and more."""

    failed: Mapping[str, str]
    more: Mapping[str, Any]


class Row(NamedTuple):
    """A row of the table `events`; of a CloudEvent's id without its source."""

    id: str
    user: str
    event: str
    at_ms: int
    n: int


def run_program(command: Sequence[str], given: Mapping[str, Any]) -> Told:
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
            timeout=_RUN_SECONDS,
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


def rows_of(service: Service, word: str) -> list[Row]:
    """Return the rows of the users whose name begins so."""
    client = connect_sync(service.settings)
    try:
        rows = client.query(_SELECT_ROWS, {"word": word}).result_rows
        return [Row(row[0].rpartition("\n")[2], *row[1:]) for row in rows]
    finally:
        client.close()


def wait_for_rows(service: Service, word: str, count: int) -> list[Row]:
    """Wait until so many rows are there, and a moment more, in which one too many would come."""
    deadline = time.monotonic() + _THROUGH_S
    while len(rows_of(service, word)) < count and time.monotonic() < deadline:
        time.sleep(0.3)
    time.sleep(1.0)
    return rows_of(service, word)


def require_counted_once(
    service: Service, word: str, taken: Iterable[Sent], also: Collection[str] = ()
) -> None:
    """Require these events of the users of a word, and no others: rows, counts and sessions.

    `also` are the ids of events that are there beside them, of other days or other users.
    """
    wanted = {each["id"]: each for each in taken}
    rows = wait_for_rows(service, word, len(wanted) + len(also))
    counts = Counter(row.id for row in rows)
    assert [each for each, count in counts.items() if count > 1] == []
    assert counts.keys() - wanted.keys() - set(also) == set(), "counted, and never taken"
    assert wanted.keys() - counts.keys() == set(), "taken, and not counted"
    found = [row for row in rows if row.id in wanted]
    assert [row for row in found if row != _row_of(wanted[row.id])] == []
    by_user: dict[str, list[Sent]] = {}
    for each in wanted.values():
        by_user.setdefault(each["user"], []).append(each)
    for user, events in by_user.items():
        _require_answer(service, "/metrics", events, user, metrics_of(events))
        _require_answer(service, "/sessions", events, user, sessions_of(events))


def _row_of(event: Sent) -> Row:
    at = datetime.fromisoformat(event["at"])
    at_ms = round(at.timestamp() * 1000)
    return Row(event["id"], event["user"], event["event"], at_ms, event["n"])


def _require_answer(
    service: Service, path: str, events: list[Sent], user: str, wanted: Sequence[Counts]
) -> None:
    """Ask until the answer is right: counts and sessions come a moment after the rows.

    Other events than plays and stops may stand beside them.
    """
    days = sorted(day_of(each) for each in events)
    parameters = {"start_date": days[0], "end_date": days[-1], "user_id": user}
    deadline = time.monotonic() + _THROUGH_S
    while True:
        answer = service.reader.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        found = answer.json()["data"]
        if [_of_pairs(each) for each in found] == [_of_pairs(each) for each in wanted]:
            return
        assert time.monotonic() < deadline, (path, user, found, wanted)
        time.sleep(0.3)


def _of_pairs(counts: Counts) -> Counts:
    return {name: count for name, count in counts.items() if name not in _BESIDE}
