"""The ledger: each event that was tried, and what its sender knows of it.

In: attempts and their outcomes, while a load runs. Out: which events must be stored, which may be,
which must not. Never: a guess: what was not clearly answered is unknown.

An event's id says where it stands in the ledger (`3-120` is the 120th of lane 3), so that millions
of them take two bytes each and not two hundred.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum


class Outcome(IntEnum):
    """What the sender of an event knows; of several attempts the highest counts."""

    REFUSED = 0
    """It must not be stored: it was answered as wrong, or its transaction was aborted."""
    UNKNOWN = 1
    """It may be stored: a time-out, a broken connection, a 503, or no answer yet."""
    ACKNOWLEDGED = 2
    """It must be stored, and once."""


class Lane:
    """The events of one sender, in order; one thread writes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.attempts = 0
        self.users = array("L")
        self.outcomes = bytearray()

    def begin(self, user: int) -> int:
        """Write down an event before it is tried; return its number."""
        self.users.append(user)
        self.outcomes.append(Outcome.UNKNOWN)
        return len(self.outcomes) - 1

    def note(self, number: int, outcome: Outcome) -> None:
        """Write down what became of an attempt."""
        self.outcomes[number] = max(self.outcomes[number], outcome)

    def refuse(self, number: int) -> None:
        """Write down that an event was refused; an attempt whose outcome is known stands."""
        if self.outcomes[number] == Outcome.UNKNOWN:
            self.outcomes[number] = Outcome.REFUSED

    def event_id(self, number: int) -> str:
        """Return the id that an event is sent under."""
        return f"{self.number}-{number}"


class Ledger:
    """All lanes of one trial. User 7 of a trial whose word is `u` is `u-7`."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.lanes: list[Lane] = []

    def open_lane(self) -> Lane:
        """Return a lane of its own for one more sender."""
        lane = Lane(len(self.lanes))
        self.lanes.append(lane)
        return lane

    def user_id(self, user: int) -> str:
        """Return the id of a user."""
        return f"{self.word}-{user}"

    def totals(self) -> Counter[Outcome]:
        """Return how many events there are of each outcome."""
        return Counter(
            {each: sum(lane.outcomes.count(each) for lane in self.lanes) for each in Outcome}
        )

    @property
    def attempts(self) -> int:
        """How many records or requests were tried, repetitions included."""
        return sum(lane.attempts for lane in self.lanes)

    def __iter__(self) -> Iterator[tuple[Lane, int, Outcome]]:
        """Give every event with its outcome."""
        for lane in self.lanes:
            for number, outcome in enumerate(lane.outcomes):
                yield lane, number, Outcome(outcome)


class Marks:
    """How often each event of a ledger was met somewhere, as counts of one byte."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._met = [bytearray(len(lane.outcomes)) for lane in ledger.lanes]
        self.foreign: list[tuple[str, str]] = []

    def mark(self, user_id: str, event_id: str) -> None:
        """Mark an event as met once more; one that the ledger does not have is foreign."""
        try:
            lane, number = map(int, event_id.split("-"))
            known = self._ledger.user_id(self._ledger.lanes[lane].users[number]) == user_id
        except (ValueError, IndexError):
            known = False
        if known:
            met = self._met[lane]
            met[number] = min(255, met[number] + 1)
        else:
            self.foreign.append((user_id, event_id))

    def times(self, lane: Lane, number: int) -> int:
        """Return how often an event was met."""
        return self._met[lane.number][number]
