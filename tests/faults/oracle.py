"""The oracle: what the log implies, by the pure functions alone.

In: the records of `track.events` in order, as a plain reader of committed records has them. Out:
every event that is accepted, every session, what is rejected, the answers of /metrics and
/sessions. Never: Faust, ClickHouse, a clock, a topic of the sessionizer's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from cli.expected import Expectation
from contracts.rows import AcceptedRow, RejectedRow, SessionRow
from processors.sessionizer.partition import Pipeline, Record
from tests.faults.ledger import Ledger, Marks


class Session(NamedTuple):
    """A session, as far as it is compared: everything but where its rows lie."""

    user_id: str
    started_at: int
    ended_at: int
    duration_ms: int


class Oracle(Expectation):
    """The answers that a log implies, and the rows; it takes the log record by record.

    Attributes:
        accepted_by_event: how many events of each name are accepted and stored.
        sessions_by_id: every session.
        put_aside: how many accepted events ClickHouse refuses, by name: they are counted nowhere.
        ends: the offset after the last record taken, by partition.
        counts: what became of the records read.
    """

    def __init__(self, pipeline: Pipeline, word: str, refused: Collection[str] = ()) -> None:
        """Expect nothing yet; `refused` are names of events that a table is made to refuse."""
        super().__init__(pipeline, word)
        self.sessions_by_id: dict[str, Session] = {}
        self.ends: dict[int, int] = {}
        self.rejected = 0
        self.put_aside = 0
        self.stored = 0
        self._refused = frozenset(refused)
        self._events: list[tuple[str, str]] = []

    def take(self, partition: int, record: Record) -> None:
        """Apply the next record of a partition."""
        super().take(partition, record)
        self.ends[partition] = record.offset + 1

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        """Note an accepted event."""
        if row.event in self._refused:
            self.put_aside += 1
            return
        super().accept(user, row)
        self.stored += 1
        self._events.append((row.user_id, row.event_id))

    def complete(self, user: bytes, row: SessionRow) -> None:
        """Note a session."""
        super().complete(user, row)
        self.sessions_by_id[row.session_id] = Session(
            row.user_id, row.started_at, row.ended_at, row.duration_ms
        )

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        """Note what is no event."""
        self.rejected += 1

    def ways(self) -> Counter[str]:
        """Return how many records went each of the four ways."""
        ways: Counter[str] = Counter()
        for partition in self._partitions:
            for name in ("accepted", "rejected", "duplicates", "readdressed"):
                ways[name] += getattr(partition.counts, name)
        return ways

    def mark(self, ledger: Ledger) -> Marks:
        """Mark every event that is to be stored in the ledger's terms."""
        marks = Marks(ledger)
        for user_id, event_id in self._events:
            marks.mark(user_id, event_id)
        return marks
