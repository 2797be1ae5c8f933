"""Standing still: what counts, what excuses; time in which nobody looked does not count."""

from __future__ import annotations

from aiokafka import TopicPartition

from runtime.monitoring.progress import Progress
from runtime.monitoring.stalls import Stalls

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)
ENDS = {HERE: 10, THERE: 10}


def seconds(stalls: Stalls, next_: int | None, now: float, *, waits: bool = False) -> float:
    return stalls.look([Progress(HERE, next_, waits)], ENDS, now).get(HERE, -1.0)


def test_seconds_count_from_the_first_look() -> None:
    stalls = Stalls(10)
    assert [seconds(stalls, 5, now) for now in (100, 103, 106)] == [0, 3, 6]


def test_progress_begins_anew() -> None:
    stalls = Stalls(10)
    assert [seconds(stalls, next_, now) for next_, now in ((5, 0), (5, 4), (6, 8), (6, 9))] == [
        0, 4, 0, 1,
    ]  # fmt: skip


def test_a_position_that_was_set_back_is_no_standstill() -> None:
    stalls = Stalls(10)
    assert [seconds(stalls, next_, now) for next_, now in ((5, 0), (5, 4), (3, 8))] == [0, 4, 0]


def test_at_the_end_nothing_is_to_be_done() -> None:
    stalls = Stalls(10)
    assert [seconds(stalls, 10, now) for now in (0, 5, 10)] == [-1, -1, -1]
    assert [seconds(stalls, 9, now) for now in (15, 20)] == [0, 5]


def test_whoever_rightly_waits_is_excused_and_begins_anew() -> None:
    stalls = Stalls(10)
    seconds(stalls, 5, 0)
    assert seconds(stalls, 5, 5) == 5
    assert seconds(stalls, 5, 10, waits=True) == -1
    assert [seconds(stalls, 5, now) for now in (15, 20)] == [0, 5]


def test_a_place_that_is_not_known_yet_is_excused() -> None:
    stalls = Stalls(10)
    assert [seconds(stalls, None, now) for now in (0, 5)] == [-1, -1]


def test_time_in_which_nobody_looked_counts_as_one_step() -> None:
    stalls = Stalls(10)
    seconds(stalls, 5, 0)
    assert seconds(stalls, 5, 100_000) == 10


def test_an_unknown_end_excuses() -> None:
    stalls = Stalls(10)
    assert stalls.look([Progress(HERE, 5)], {}, 0) == {}


def test_after_kafka_was_away_all_begins_anew() -> None:
    stalls = Stalls(10)
    seconds(stalls, 5, 0)
    assert seconds(stalls, 5, 5) == 5
    stalls.forget()
    assert [seconds(stalls, 5, now) for now in (8, 9)] == [0, 1]


def test_partitions_stand_still_each_for_itself() -> None:
    stalls = Stalls(10)
    stalls.look([Progress(HERE, 5), Progress(THERE, 5)], ENDS, 0)
    assert stalls.look([Progress(HERE, 5), Progress(THERE, 6)], ENDS, 4) == {HERE: 4, THERE: 0}
    assert stalls.look([Progress(THERE, 6)], ENDS, 8) == {THERE: 4}
    assert stalls.look([Progress(HERE, 5)], ENDS, 9) == {HERE: 0}
