"""The judgement can fail: a trial that is right but for one thing is found wrong, and in that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from contracts.topics import Partitioner
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Pipeline
from tests.faults.judgement import Answered, Evidence, judge
from tests.faults.ledger import Lane, Ledger, Marks, Outcome
from tests.faults.oracle import Oracle


@dataclass(frozen=True)
class Logged:
    """A record of the log."""

    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Case:
    """A trial in which all went well: two sessions, an event twice in the log, one that is none."""

    def __init__(self) -> None:
        self.ledger = Ledger("u")
        self.lane: Lane = self.ledger.open_lane()
        self.oracle = Oracle(Pipeline("log", "events", Partitioner(1), PairingRules(), 1_000), "u-")
        self.records = 0
        for number, name in enumerate(["play", "stop", "play", "stop", "pause"]):
            self._log(name, number * 1000)
            self.lane.note(number, Outcome.ACKNOWLEDGED)
        self._take(b'{"event":"pause","user_id":"u-0","event_id":"0-4"}')  # repeated
        self._take(b"nonsense")
        self.lane.attempts += 2
        self.refused = self.lane.begin(0)
        self.lane.refuse(self.refused)
        self.unknown = self.lane.begin(0)
        self.stored = [f"0-{number}" for number in range(5)]
        self.evidence = Evidence(
            stored=Marks(self.ledger),
            sessions=list(self.oracle.sessions_by_id.items()),
            rejected=1,
            put_aside=0,
            records=self.records,
            answers=[Answered("/metrics", [1], [1])],
            lags={"events/0": 0},
            rss_mb={"writer": (10, 20)},
        )

    def judged(self) -> list[str]:
        marks = Marks(self.ledger)
        for event_id in self.stored:
            marks.mark("u-0", event_id)
        return judge(self.ledger, self.oracle, replace(self.evidence, stored=marks))

    def _log(self, name: str, timestamp: int) -> None:
        number = self.lane.begin(0)
        self.lane.attempts += 1
        event: dict[str, Any] = {"event": name, "user_id": "u-0", "event_id": f"0-{number}"}
        event["timestamp"] = f"2025-01-01T00:00:{timestamp // 1000:02}Z"
        self._take(json.dumps(event).encode())

    def _take(self, value: bytes) -> None:
        self.oracle.take(0, Logged(self.records, 1_800_000_000_000 + self.records, value))
        self.records += 1


def test_what_went_well_is_right() -> None:
    assert Case().judged() == []


def test_an_unknown_event_may_be_stored_if_the_log_has_it_and_need_not() -> None:
    case = Case()
    case.stored.append(f"0-{case.unknown}")
    assert "stored, but not in the log: 0-6" in case.judged()[0]
    case._take(b'{"event":"pause","user_id":"u-0","event_id":"0-6"}')
    case.evidence.records += 1
    case.lane.attempts += 1
    assert case.judged() == []


def lose_a_row(case: Case) -> None:
    case.stored.remove("0-2")


def double_a_row(case: Case) -> None:
    case.stored.append("0-2")


def store_what_was_refused(case: Case) -> None:
    case.stored.append(f"0-{case.refused}")


def store_what_nobody_sent(case: Case) -> None:
    case.stored.append("0-99")


def acknowledge_what_never_came(case: Case) -> None:
    case.lane.note(case.unknown, Outcome.ACKNOWLEDGED)


def lose_a_session(case: Case) -> None:
    case.evidence.sessions = case.evidence.sessions[1:]


def double_a_session(case: Case) -> None:
    case.evidence.sessions = [*case.evidence.sessions, case.evidence.sessions[0]]


def change_a_session_by_a_millisecond(case: Case) -> None:
    session_id, session = case.evidence.sessions[0]
    changed = session._replace(duration_ms=session.duration_ms + 1)
    case.evidence.sessions = [(session_id, changed), *case.evidence.sessions[1:]]


def make_up_a_session(case: Case) -> None:
    _, session = case.evidence.sessions[0]
    case.evidence.sessions = [*case.evidence.sessions, ("0" * 32, session)]


def lose_a_rejection(case: Case) -> None:
    case.evidence.rejected = 0


def refuse_a_row(case: Case) -> None:
    case.evidence.put_aside = 1


def send_more_than_was_tried(case: Case) -> None:
    case.lane.attempts -= 1


def answer_wrongly(case: Case) -> None:
    case.evidence.answers = [Answered("/sessions", [1], [2])]


def stand_still(case: Case) -> None:
    case.evidence.lags = {"events/0": 3}


def use_memory(case: Case) -> None:
    case.evidence.rss_mb = {"writer": (21, 20)}


def differ(case: Case) -> None:
    case.evidence.verified = ["events lacks 3"]


def end_wrongly(case: Case) -> None:
    case.evidence.ends = ["writer ended with 78"]


@pytest.mark.parametrize(
    ("go_wrong", "said"),
    [
        (lose_a_row, "1 events were acknowledged and in the log, but not stored: 0-2"),
        (double_a_row, "1 events were stored more than once: 0-2"),
        (store_what_was_refused, "1 events were refused, but stored: 0-5"),
        (store_what_nobody_sent, "1 events were stored, but sent by nobody: u-0 0-99"),
        (acknowledge_what_never_came, "1 events were acknowledged, but neither in the log nor"),
        (lose_a_session, "1 sessions are not stored"),
        (double_a_session, "1 sessions are stored more than once"),
        (change_a_session_by_a_millisecond, "1 sessions are wrong"),
        (make_up_a_session, "1 sessions are stored, but not implied by the log"),
        (lose_a_rejection, "The log has 7 records, but"),
        (refuse_a_row, "1 rows were refused by ClickHouse; it must be 0"),
        (send_more_than_was_tried, "The log has 7 records of senders, but 6 were tried"),
        (answer_wrongly, "/sessions was answered [1]; it must be [2]"),
        (stand_still, "3 records are unread: events/0"),
        (use_memory, "writer has used 21 MB; it may use 20"),
        (differ, "track verify: events lacks 3"),
        (end_wrongly, "writer ended with 78"),
    ],
)
def test_one_thing_that_is_wrong_is_found(go_wrong: Callable[[Case], None], said: str) -> None:
    case = Case()
    go_wrong(case)
    assert any(each.startswith(said) for each in case.judged()), case.judged()
