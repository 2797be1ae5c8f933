"""The ledger and the load's events: seeded, each found again by its id, outcomes as they were."""

from __future__ import annotations

import json
from collections import Counter

from tests.faults.ledger import Ledger, Marks, Outcome
from tests.faults.load import Maker, Volume

NOW_MS = 1_800_000_000_000


def made(seed: str, count: int) -> tuple[Ledger, list[bytes]]:
    ledger = Ledger("u")
    maker = Maker(ledger, seed, Volume(users=50))
    return ledger, [maker.next(NOW_MS).body for _ in range(count)]


def test_of_several_outcomes_the_best_known_counts() -> None:
    lane = Ledger("u").open_lane()
    number = lane.begin(0)
    assert lane.outcomes[number] == Outcome.UNKNOWN
    lane.note(number, Outcome.ACKNOWLEDGED)
    lane.refuse(number)
    lane.note(number, Outcome.UNKNOWN)
    assert lane.outcomes[number] == Outcome.ACKNOWLEDGED
    refused = lane.begin(0)
    lane.refuse(refused)
    assert lane.outcomes[refused] == Outcome.REFUSED


def test_the_same_seed_makes_the_same_events() -> None:
    assert made("a", 500)[1] == made("a", 500)[1]
    assert made("a", 500)[1] != made("b", 500)[1]


def test_there_is_every_kind_of_event() -> None:
    ledger, bodies = made("a", 2_000)
    events = [json.loads(body) for body in bodies]
    names = Counter(event["event"] for event in events)
    ids = Counter(event["event_id"] for event in events)
    assert {"play", "stop", "pause", ""} <= names.keys()
    assert max(ids.values()) > 1, "no event is repeated"
    assert any("timestamp" not in event for event in events)
    assert any(event.get("timestamp", "") > "2027-01-15T08:00:00Z" for event in events), "no future"
    assert ledger.totals()[Outcome.REFUSED] == sum(ids for name, ids in names.items() if not name)


def test_an_event_is_found_again_by_user_and_id_together() -> None:
    ledger, bodies = made("a", 10)
    event = json.loads(bodies[3])
    marks = Marks(ledger)
    marks.mark(event["user_id"], event["event_id"])
    marks.mark("u-999", event["event_id"])
    marks.mark(event["user_id"], "7-0")
    marks.mark(event["user_id"], "client's own")
    lane, number = ledger.lanes[0], int(event["event_id"].partition("-")[2])
    assert marks.times(lane, number) == 1
    assert len(marks.foreign) == 3
