"""Properties of the whole step: replay any prefix with restarts anywhere, get the same outputs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.rows import AcceptedRow, RejectedRow, SessionRow, encode_row
from contracts.timestamps import format_timestamp
from contracts.topics import Partitioner
from processors.sessionizer.pairing import Dropped, PairingRules, UserState
from processors.sessionizer.partition import Counts, Partition, Pipeline

HOUR_MS = 3_600_000
START = 1_737_201_600_000
PIPELINE = Pipeline("f" * 32, "track.events", Partitioner(2), PairingRules(), 40)
USERS = [user for user in "abcdefgh" if PIPELINE.partitioner.partition_of(user) == 0]
STRANGERS = [user for user in "abcdefgh" if PIPELINE.partitioner.partition_of(user) == 1]


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


@dataclass
class Kept:
    """A sink that keeps everything, in order."""

    outputs: list[tuple[str, bytes]] = field(default_factory=list)

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        self.outputs.append(("accepted", encode_row(row)))

    def complete(self, user: bytes, row: SessionRow) -> None:
        self.outputs.append(("session", encode_row(row)))

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        self.outputs.append(("rejected", encode_row(row)))

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        self.outputs.append((f"to {partition}", value))


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Records of few users, close in time, ids repeated, some of them nonsense."""
    records, offset, now = [], 0, START
    for _ in range(draw(st.integers(0, 60))):
        offset += draw(st.sampled_from([1, 1, 1, 2, 30]))
        now += draw(st.sampled_from([0, 1, 60_000, HOUR_MS, -60_000, 31 * 24 * HOUR_MS]))
        sent: dict[str, object] = {
            "event": draw(st.sampled_from(["play", "stop", "play", "stop", "pause"])),
            "user_id": draw(st.sampled_from(USERS * 3 + STRANGERS)),
            "metadata": {"n": offset},
        }
        behind = draw(st.sampled_from([None, 0, 1000, 300_000, 700_000, -5000]))
        if behind is not None:
            sent["timestamp"] = format_timestamp(now - behind)
        if draw(st.booleans()):
            sent["event_id"] = draw(st.sampled_from("xyz"))
        value = draw(st.sampled_from([msgspec.json.encode(sent)] * 9 + [b"nonsense"]))
        records.append(Record(offset, now, value))
    return records


def restarted(old: Partition, done: list[Record]) -> Partition:
    """What a new process has: the states that were written, and the window read again."""
    new = Partition(0, PIPELINE)
    for user_id, state in old.users.items():
        new.restore(user_id, state)
    for record in done:
        if record.offset >= done[-1].offset + 1 - PIPELINE.duplicate_window:
            new.remember(record)
    return new


@settings(max_examples=300)
@given(logs(), st.sets(st.integers(0, 60)), st.integers(1, 7), st.booleans())
def test_restarts_and_cuts_change_nothing(
    log: list[Record], restarts: set[int], batch: int, sweeping: bool
) -> None:
    whole, once = Kept(), Partition(0, PIPELINE)
    for record in log:
        once.step(record, whole)
    once.take_changes()

    cut, partition = Kept(), Partition(0, PIPELINE)
    for number, record in enumerate(log):
        partition.step(record, cut)
        if number % batch == 0 or number in restarts:
            if sweeping:
                partition.sweep(record.timestamp, 3)
            partition.take_changes()
        if number in restarts:
            partition = restarted(partition, log[: number + 1])
    assert cut.outputs == whole.outputs


@settings(max_examples=50)
@given(logs(), st.sets(st.integers(0, 60)), st.integers(1, 7))
def test_what_is_kept_is_counted(log: list[Record], restarts: set[int], batch: int) -> None:
    """Over batches, sweeps and restarts the gauges are what the states hold."""
    partition = Partition(0, PIPELINE)
    for number, record in enumerate(log):
        partition.step(record, Kept())
        if number % batch == 0 or number in restarts:
            partition.sweep(record.timestamp, 3)
            partition.take_changes()
            states = [
                msgspec.json.decode(each, type=UserState) for each in partition.users.values()
            ]
            assert partition.open_plays == sum(len(state.plays) for state in states)
            assert partition.waiting_stops == sum(len(state.stops) for state in states)
        if number in restarts:
            old, partition = partition, restarted(partition, log[: number + 1])
            assert partition.open_plays == old.open_plays
            assert partition.waiting_stops == old.waiting_stops


@settings(max_examples=50)
@given(logs())
def test_no_play_and_no_stop_is_lost_uncounted(log: list[Record]) -> None:
    """Each one is open or waits, is in a session, was dropped (rule 5) or forgotten (rule 4)."""
    kept, partition = Kept(), Partition(0, PIPELINE)
    for record in log:
        partition.step(record, kept)
    partition.take_changes()
    counts, gone = partition.counts, partition.counts.dropped
    names = [msgspec.json.decode(row)["event"] for kind, row in kept.outputs if kind == "accepted"]
    left = partition.open_plays + counts.sessions
    assert names.count("play") == left + gone.plays + gone.old_plays
    left = partition.waiting_stops + counts.sessions
    assert names.count("stop") == left + gone.stops + gone.old_stops
    assert sum(counts.reasons.values()) == counts.rejected


def test_counts_add_up() -> None:
    one, two = Partition(0, PIPELINE), Partition(0, PIPELINE)
    for number, partition in enumerate((one, two, two), 1):
        value = b'{"event":"play","user_id":"%s"}' % USERS[0].encode()
        partition.step(Record(number, START + number * 31 * 24 * HOUR_MS, value), Kept())
        partition.step(Record(10 + number, START, b"nonsense"), Kept())
    total = Counts()
    total.add(one.counts)
    total.add(two.counts)
    assert (total.accepted, total.rejected, total.read) == (3, 3, 6)
    assert total.reasons == {"invalid_json": 3}
    assert total.dropped == Dropped(old_plays=1)


@settings(max_examples=200)
@given(logs())
def test_every_record_goes_one_way(log: list[Record]) -> None:
    kept, partition = Kept(), Partition(0, PIPELINE)
    for record in log:
        partition.step(record, kept)
    counts = partition.counts
    assert counts.read == len(log)
    kinds = [kind for kind, _ in kept.outputs]
    assert kinds.count("accepted") == counts.accepted
    assert kinds.count("session") == counts.sessions
    assert kinds.count("rejected") == counts.rejected
    assert kinds.count("to 1") == counts.readdressed


@settings(max_examples=200)
@given(logs())
def test_no_play_and_no_stop_is_used_twice(log: list[Record]) -> None:
    kept, partition = Kept(), Partition(0, PIPELINE)
    for record in log:
        partition.step(record, kept)
    sessions = [
        msgspec.json.decode(row, type=SessionRow) for kind, row in kept.outputs if kind == "session"
    ]
    assert all(each.duration_ms >= 0 for each in sessions)
    # An id that comes again long after its first time is another event with the same name.
    accepted = Counter(
        (row.user_id, row.event_id)
        for row in (
            msgspec.json.decode(row, type=AcceptedRow)
            for kind, row in kept.outputs
            if kind == "accepted"
        )
    )
    plays = Counter((each.user_id, each.play_id) for each in sessions)
    stops = Counter((each.user_id, each.stop_id) for each in sessions)
    assert plays + stops <= accepted


def test_a_stranger_is_moved_with_its_timestamp_decided() -> None:
    kept, partition = Kept(), Partition(0, PIPELINE)
    value = msgspec.json.encode({"event": "play", "user_id": STRANGERS[0]})
    partition.step(Record(5, START, value, headers=[("source", b"web")]), kept)
    [(kind, moved)] = kept.outputs
    assert kind == "to 1"
    assert msgspec.json.decode(moved) == {
        "event": "play",
        "user_id": STRANGERS[0],
        "timestamp": "2025-01-18T12:00:00Z",
        "metadata": {},
    }


def test_an_id_is_derived_from_the_place_in_the_log() -> None:
    kept, partition = Kept(), Partition(0, PIPELINE)
    partition.step(Record(5, START, b'{"event":"play","user_id":"%s"}' % USERS[0].encode()), kept)
    row = msgspec.json.decode(kept.outputs[0][1])
    assert row["event_id"] == f"~{'f' * 32}:track.events:0:5"
