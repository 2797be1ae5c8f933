"""What a record of `track.events` does to its partition: the whole domain, as one pure step.

In: the records of one partition in log order. Out, into a `Sink`: accepted events, sessions,
rejections, records for another partition. Never: a clock, IO, Faust. Read again from the same
state, the same records give the same outputs, so this is also what the tests and the demo expect
of a log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import msgspec
from msgspec import Raw

from contracts.admission import admit, readdress
from contracts.events import Event, Rejected, encode_event
from contracts.records import SOURCE_HEADER, parse_record, source_of
from contracts.rows import AcceptedRow, RejectedRow, SessionRow, rejected_row
from contracts.sessions import attributes_of, session_id
from contracts.topics import Partitioner
from processors.sessionizer.duplicates import DAY_MS, DuplicateWindow
from processors.sessionizer.pairing import (
    Dropped,
    OpenPlay,
    Pair,
    PairingRules,
    UserState,
    WaitingStop,
    apply_play,
    apply_stop,
    forget,
)


class Record(Protocol):
    """A record as a consumer gives it."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """The broker's time of receipt, ms since 1970."""

    @property
    def key(self) -> bytes | None:
        """Its key, whatever the producer chose."""

    @property
    def value(self) -> bytes | None:
        """An event, or anything else."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Its headers, in order."""


class Sink(Protocol):
    """Where a step's outputs go; `user` is the user id in UTF-8, the key of what is written."""

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        """Take an accepted event."""

    def complete(self, user: bytes, row: SessionRow) -> None:
        """Take a completed session."""

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        """Take a record that is not an event."""

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """Take an event that belongs into another partition of the same topic."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What every partition of one pipeline has in common."""

    log_id: str
    topic: str
    partitioner: Partitioner
    rules: PairingRules
    duplicate_window: int


@dataclass(slots=True)
class Counts:
    """What became of the records read; the first four sum up to `read`."""

    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    readdressed: int = 0
    sessions: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    dropped: Dropped = field(default_factory=Dropped)

    @property
    def read(self) -> int:
        """Records read, each of which went one of the four ways."""
        return self.accepted + self.rejected + self.duplicates + self.readdressed

    def add(self, other: Counts) -> None:
        """Add what another partition has counted."""
        for name in ("accepted", "rejected", "duplicates", "readdressed", "sessions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for each in fields(Dropped):
            count = getattr(self.dropped, each.name) + getattr(other.dropped, each.name)
            setattr(self.dropped, each.name, count)
        self.reasons.update(other.reasons)


_encode_state = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(UserState).decode


class Partition:
    """The state of one partition: users' open plays and waiting stops, and the ids seen.

    A user's state is kept as the very bytes of its record in `track.state`: compact, and nothing
    for the garbage collector to walk through.
    """

    def __init__(self, number: int, pipeline: Pipeline) -> None:
        self.number = number
        self.counts = Counts()
        self.users: dict[str, bytes] = {}
        self.open_plays = self.waiting_stops = 0  # of all users, as of the last changes
        self._touched_plays = self._touched_stops = 0  # of the touched, before they were touched
        self._pipeline = pipeline
        self._rules = pipeline.rules
        self._window = DuplicateWindow(pipeline.duplicate_window)
        self._partition_of = pipeline.partitioner.partition_of
        # Of each user touched since the last changes: the state, and what it was before.
        self._touched: dict[str, tuple[UserState, bytes | None]] = {}
        self._sweep: Iterator[str] = iter(())

    def step(self, record: Record, sink: Sink) -> None:
        """Apply one record."""
        headers = record.headers
        event = parse_record(record.value, headers)
        if type(event) is Rejected:
            self._reject(record, event, sink)
            return
        user_id = event.user_id
        user = user_id.encode()
        home = self._partition_of(user_id)
        if home != self.number:
            self._readdress(home, user, event, record, sink)
            return
        offset, received_at, event_id = record.offset, record.timestamp, event.event_id
        if event_id is None:
            event_id = self._derived_id(offset)
        elif self._window.observe(user_id, event_id, offset, received_at):
            self.counts.duplicates += 1
            return
        timestamp, metadata = admit(event, received_at)
        source = source_of(headers) if headers else ""
        name = event.event
        sink.accept(
            user,
            AcceptedRow(
                event_id, user_id, name, timestamp, received_at, Raw(metadata), source, offset
            ),
        )
        self.counts.accepted += 1
        rules = self._rules
        if name == rules.opens:
            attributes = Raw(attributes_of(metadata))
            play = OpenPlay(timestamp, offset, received_at, event_id, attributes)
            pair = apply_play(self._state_of(user_id), play, rules, self.counts.dropped)
        elif name == rules.closes:
            stop = WaitingStop(timestamp, offset, event_id)
            state = self._state_of(user_id)
            pair = apply_stop(state, stop, received_at, rules, self.counts.dropped)
        else:
            return
        if pair is not None:
            self._complete(user_id, user, pair, record, sink)

    def remember(self, record: Record) -> None:
        """Note the id of a record that was processed before, to fill the window again."""
        event = parse_record(record.value, record.headers)
        if (
            type(event) is not Rejected
            and event.event_id is not None
            and self._partition_of(event.user_id) == self.number
        ):
            self._window.observe(event.user_id, event.event_id, record.offset, record.timestamp)

    def take_changes(self) -> Mapping[str, bytes | None]:
        """Return the state of each user touched since the last call; None where nothing is left."""
        changes: dict[str, bytes | None] = {}
        users = self.users
        plays, stops = -self._touched_plays, -self._touched_stops
        for user_id, (state, before) in self._touched.items():
            plays += len(state.plays)
            stops += len(state.stops)
            if state.plays or state.stops:
                encoded = _encode_state(state)
                if encoded != before:
                    changes[user_id] = users[user_id] = encoded
            elif before is not None:
                changes[user_id] = None
                del users[user_id]
        self._touched.clear()
        self.open_plays += plays
        self.waiting_stops += stops
        self._touched_plays = self._touched_stops = 0
        return changes

    def sweep(self, received_at: int, limit: int) -> None:
        """Forget, of some users who have been idle, what rule 4 forgets, with a day to spare.

        Housekeeping: no later result depends on it. What it forgets is in the next changes.
        """
        for _ in range(limit):
            user_id = next(self._sweep, None)
            if user_id is None:
                self._sweep = iter(tuple(self.users))
                return
            if user_id in self.users and user_id not in self._touched:
                state = self._state_of(user_id)
                forget(state, received_at - DAY_MS, self._rules, self.counts.dropped)

    def restore(self, user_id: str, encoded: bytes | None) -> None:
        """Take a user's state from its record in `track.state`, in place of an earlier one."""
        self._count(self.users.get(user_id), -1)
        self._count(encoded, 1)
        self._keep(user_id, encoded)

    @property
    def window_since(self) -> int | None:
        """When the oldest id that is remembered was received (ms), or None."""
        return self._window.earliest_received_at

    @property
    def window_size(self) -> int:
        """How many ids are remembered, also those that have just left the window."""
        return len(self._window)

    def _count(self, encoded: bytes | None, sign: int) -> None:
        if encoded is not None:
            state = _decode_state(encoded)
            self.open_plays += sign * len(state.plays)
            self.waiting_stops += sign * len(state.stops)

    def _keep(self, user_id: str, encoded: bytes | None) -> None:
        if encoded is None:
            self.users.pop(user_id, None)
        else:
            self.users[user_id] = encoded

    def _state_of(self, user_id: str) -> UserState:
        touched = self._touched.get(user_id)
        if touched is not None:
            return touched[0]
        encoded = self.users.get(user_id)
        if encoded is None:
            state = UserState()
        else:
            state = _decode_state(encoded)
            self._touched_plays += len(state.plays)
            self._touched_stops += len(state.stops)
        self._touched[user_id] = state, encoded
        return state

    def _derived_id(self, offset: int) -> str:
        return f"~{self._pipeline.log_id}:{self._pipeline.topic}:{self.number}:{offset}"

    def _complete(self, user_id: str, user: bytes, pair: Pair, record: Record, sink: Sink) -> None:
        row = SessionRow(
            session_id=session_id(user_id, pair.play_id, pair.stop_id),
            user_id=user_id,
            started_at=pair.started_at,
            ended_at=pair.ended_at,
            duration_ms=pair.ended_at - pair.started_at,
            attributes=pair.attributes,
            play_id=pair.play_id,
            stop_id=pair.stop_id,
            received_at=record.timestamp,
            log_offset=record.offset,
        )
        sink.complete(user, row)
        self.counts.sessions += 1

    def _reject(self, record: Record, rejected: Rejected, sink: Sink) -> None:
        row = rejected_row(
            reason=rejected.reason,
            message=rejected.message,
            source=source_of(record.headers),
            topic=self._pipeline.topic,
            partition=self.number,
            offset=record.offset,
            received_at=record.timestamp,
            key=record.key,
            value=record.value,
            headers=record.headers,
        )
        sink.reject(record.key, row)
        self.counts.rejected += 1
        self.counts.reasons[rejected.reason] += 1

    def _readdress(self, home: int, user: bytes, event: Event, record: Record, sink: Sink) -> None:
        source = source_of(record.headers)
        headers = [(SOURCE_HEADER, source.encode())] if source else []
        sink.readdress(home, user, encode_event(readdress(event, record.timestamp)), headers)
        self.counts.readdressed += 1
