from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date

import pytest

from cli.expected import Expectation, Question, week_of
from contracts.timestamps import parse_timestamp
from contracts.topics import Partitioner
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Pipeline

USER = "demo-ada"


@dataclass
class Logged:
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


class Log:
    """A log of two partitions that is written by the test and read by the expectation."""

    def __init__(self) -> None:
        self.partitioner = Partitioner(2)
        pipeline = Pipeline("ab" * 16, "t.events", self.partitioner, PairingRules(), 1_000)
        self.expectation = Expectation(pipeline, "demo-")
        self.offset = 0

    def add(self, event: str, at: str, *, foreign: bool = False, **fields: str) -> None:
        timestamp = parse_timestamp(at)
        assert timestamp is not None
        body = {"event": event, "user_id": USER, "timestamp": at, **fields}
        home = self.partitioner.partition_of(body["user_id"])
        record = Logged(self.offset, timestamp + 60_000, json.dumps(body).encode())
        self.expectation.take(1 - home if foreign else home, record)
        self.offset += 1


JANUARY = Question(date(2025, 1, 1), date(2025, 1, 31))


@pytest.fixture
def log() -> Log:
    return Log()


def test_events_are_counted_by_day_in_code_point_order(log: Log) -> None:
    log.add("stop", "2025-01-18T23:59:59.999Z")
    log.add("play", "2025-01-18T00:00:00Z")
    log.add("Zoom", "2025-01-19T00:00:00Z")
    log.add("play", "2025-01-19T00:00:00Z")
    assert log.expectation.metrics(JANUARY) == [
        {"date": "2025-01-18", "play": 1, "stop": 1},
        {"date": "2025-01-19", "Zoom": 1, "play": 1},
    ]
    assert list(log.expectation.metrics(JANUARY)[1]) == ["date", "Zoom", "play"]


def test_a_session_belongs_to_the_day_of_its_play(log: Log) -> None:
    log.add("play", "2025-01-18T23:59:00Z")
    log.add("stop", "2025-01-19T00:01:00.500Z")
    assert log.expectation.sessions(JANUARY) == [
        {"date": "2025-01-18", "totalDuration": 121, "sessionCount": 1, "averageDuration": 121}
    ]


def test_the_average_is_rounded_half_up_from_the_unrounded_sum(log: Log) -> None:
    for minute, end in enumerate(("00.700", "00.800", "00.000")):
        log.add("play", f"2025-01-18T10:0{minute}:00Z")
        log.add("stop", f"2025-01-18T10:0{minute}:{end}Z")
    assert log.expectation.sessions(JANUARY) == [
        {"date": "2025-01-18", "totalDuration": 2, "sessionCount": 3, "averageDuration": 1}
    ]


def test_weeks_begin_on_sunday_and_are_labelled_by_it(log: Log) -> None:
    for day in (18, 19, 25, 26):
        log.add("play", f"2025-01-{day}T10:00:00Z")
    question = Question(date(2025, 1, 18), date(2025, 1, 25), "week")
    assert log.expectation.metrics(question) == [
        {"date": "2025-01-12", "play": 1},
        {"date": "2025-01-19", "play": 2},
    ]


def test_months_are_labelled_by_their_first_day(log: Log) -> None:
    log.add("play", "2025-01-18T10:00:00Z")
    question = Question(date(2025, 1, 10), date(2025, 2, 1), "month")
    assert log.expectation.metrics(question) == [{"date": "2025-01-01", "play": 1}]


def test_a_sunday_is_its_own_week() -> None:
    assert week_of(date(2025, 1, 19)) == date(2025, 1, 19)
    assert week_of(date(2025, 1, 18)) == date(2025, 1, 12)


def test_a_duplicate_and_a_foreign_record_are_not_counted(log: Log) -> None:
    log.add("play", "2025-01-18T10:00:00Z", event_id="a")
    log.add("play", "2025-01-18T10:00:00Z", event_id="a")
    log.add("play", "2025-01-18T11:00:00Z", foreign=True)
    assert log.expectation.accepted == 1
    assert log.expectation.metrics(JANUARY) == [{"date": "2025-01-18", "play": 1}]


def test_what_is_no_event_is_passed_over(log: Log) -> None:
    log.expectation.take(0, Logged(0, 0, None))
    log.expectation.take(0, Logged(1, 0, b"no json"))
    assert log.expectation.metrics(JANUARY) == []


def test_single_users_are_told_apart_and_others_count_for_all(log: Log) -> None:
    log.add("play", "2025-01-18T10:00:00Z")
    log.add("play", "2025-01-18T10:00:00Z", user_id="somebody else")
    ada = Question(JANUARY.start, JANUARY.end, user_id=USER)
    assert log.expectation.metrics(ada) == [{"date": "2025-01-18", "play": 1}]
    assert log.expectation.metrics(JANUARY) == [{"date": "2025-01-18", "play": 2}]
    assert log.expectation.accepted == 1
    assert log.expectation.counted() == {"play": 1}


def test_an_unknown_user_has_no_data(log: Log) -> None:
    assert log.expectation.sessions(Question(JANUARY.start, JANUARY.end, user_id="nobody")) == []
