"""What is done about what was found: pure, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition

from cli.comparison.places import Place
from cli.comparison.rows import Origin, Rows, judge
from cli.comparison.runs import Runs, merge
from cli.repair.findings import Finding, RollupFaults
from cli.repair.plan import (
    LAST_OFFSET,
    ForgetTokens,
    InsertRows,
    MendRollup,
    RemoveRows,
    SetOffset,
    plan,
)
from contracts.tables import DEDUPLICATED, EVENTS, BaseTable
from processors.writer.ranges import Intent
from processors.writer.standing import Standing

NOW = 1_000_000_000_000


class Record:
    def __init__(self, offset: int, received_at: int = NOW) -> None:
        self.offset = offset
        self.value = b'{"log_offset":%d,"received_at":%d}' % (offset * 10, received_at)


def place_at(committed: int | None = 50, partition: int = 0, **more: Any) -> Place:
    standing: dict[str, Any] = {
        "committed": committed,
        "intent": None,
        "log_start": 0,
        "log_end": 60,
        "rows": 49,
        "refused": None,
        "rollups": {"event_counts_15m": 49, "user_counts_15m": 49},
    }
    where = TopicPartition("t.accepted", partition)
    return Place(where, EVENTS, Standing(**{**standing, **more}))


def runs_of(*offsets: int) -> Runs:
    runs = Runs()
    for offset in offsets:
        runs.add(offset)
        runs.end()
    return runs


def seen(*offsets: int, **other: list[Origin | None]) -> dict[int, list[Origin | None]]:
    found: dict[int, list[Origin | None]] = {offset: [(offset * 10, NOW)] for offset in offsets}
    return {**found, **{int(name[1:]): origins for name, origins in other.items()}}


def test_rows_are_judged_by_their_offset_and_their_origin() -> None:
    rows = Rows()
    found = seen(0, 2, 5, o3=[(30, NOW), (30, NOW)], o4=[(41, NOW)], o6=[None])
    judge(
        rows,
        [Record(n) for n in (0, 1, 2, 3, 4, 6, 7)],
        found,
        covers=lambda _: False,
        days=0,
        now=NOW,
    )
    assert rows.records == 7
    assert rows.lacking.ranges == [(1, 1), (7, 7)]
    assert rows.doubled.ranges == [(3, 3)]
    assert rows.foreign.ranges == [(4, 5)]


def test_an_offset_without_a_record_breaks_no_range() -> None:
    rows = Rows()
    judge(rows, [Record(n) for n in (0, 1, 5, 6)], {}, covers=lambda _: False, days=0, now=NOW)
    assert rows.lacking.ranges == [(0, 6)]
    assert str(rows.lacking) == "4 offsets: 0 to 6"


def test_what_may_have_expired_lacks_not_but_makes_the_table_less_than_whole() -> None:
    rows = Rows()
    old = Record(1, NOW - 3 * 86_400_000)
    judge(rows, [Record(0), old], seen(0), covers=lambda _: False, days=2, now=NOW)
    assert not rows.lacking
    assert rows.expired == 1
    assert Finding(place_at(), rows).whole is False


@pytest.mark.parametrize(
    ("most", "merged"),
    [
        (9, [(1, 3), (5, 6), (9, 9), (20, 21)]),
        (3, [(1, 6), (9, 9), (20, 21)]),
        (2, [(1, 9), (20, 21)]),
        (1, [(1, 21)]),
    ],
)
def test_ranges_are_merged_over_the_smallest_gaps(most: int, merged: list[tuple[int, int]]) -> None:
    assert merge([(20, 21), (1, 2), (3, 3), (5, 6), (9, 9)], most) == merged


def test_nothing_is_done_where_nothing_is_wrong() -> None:
    waiting = Rows(lacking=runs_of(50, 59))
    fresh = place_at(None, rows=None, rollups={})
    assert plan([Finding(place_at(), after=waiting), Finding(fresh, after=waiting)]) == []


def test_a_partition_in_which_anything_is_wrong_is_brought_to_the_log_s_end() -> None:
    wrong = Finding(place_at(), Rows(lacking=runs_of(7)), Rows(lacking=runs_of(52, 59)))
    fine = Finding(place_at(partition=1))
    steps = plan([fine, wrong])
    assert steps == [
        InsertRows(wrong.place, 7),
        *(MendRollup(wrong.place, rollup, True, None) for rollup in EVENTS.rollups),
        SetOffset(wrong.place),
    ]


def test_wrong_rows_go_before_anything_is_inserted() -> None:
    rows = Rows(doubled=runs_of(5), foreign=runs_of(9), lacking=runs_of(30))
    wrong = Finding(place_at(), rows)
    removal, insertion, *_ = plan([wrong])
    assert removal == RemoveRows(wrong.place, ((5, 5), (9, 9)))
    assert insertion == InsertRows(wrong.place, 5)


def test_a_rollup_that_differs_moves_the_offset_too() -> None:
    faults = {"event_counts_15m": RollupFaults(buckets=(900,))}
    wrong = Finding(place_at(), after=Rows(lacking=runs_of(55)), rollups=faults)
    assert [type(step) for step in plan([wrong])] == [InsertRows, MendRollup, MendRollup, SetOffset]


@pytest.mark.parametrize(
    ("lacking", "is_wrong"), [(None, False), (50, True), (52, True), (53, False)]
)
def test_an_announced_range_is_wrong_where_it_lacks_rows(
    lacking: int | None, is_wrong: bool
) -> None:
    after = Rows() if lacking is None else Rows(lacking=runs_of(lacking))
    finding = Finding(place_at(intent=Intent(end=52, since=0)), after=after)
    assert bool(finding.sentences) is is_wrong


@pytest.mark.parametrize(
    "place",
    [
        place_at(61),
        place_at(intent=Intent(end=60, since=0)),
        place_at(rows=60),
        place_at(rollups={"event_counts_15m": 60, "user_counts_15m": 49}),
    ],
)
def test_where_more_is_known_than_the_log_has_all_tokens_are_forgotten_first(place: Place) -> None:
    fine = Finding(place_at(partition=1))
    steps = plan([Finding(place), fine])
    assert steps[0] == ForgetTokens(DEDUPLICATED)
    # A token that would have kept an announced insert from being repeated is gone as well.
    assert SetOffset(fine.place) in steps


def test_rows_behind_the_log_s_end_are_taken_away() -> None:
    finding = Finding(place_at(rows=80), beyond=3)
    assert RemoveRows(finding.place, ((60, LAST_OFFSET),)) in plan([finding])


def test_what_kafka_no_longer_has_is_named() -> None:
    place = place_at(3, log_start=20, rows=9, rollups={"event_counts_15m": 9})
    (lost,) = Finding(place).left
    assert "no longer has the offsets 10 to 19" in lost
    assert Finding(place_at(log_start=20)).left == []


def test_a_repair_that_was_cut_off_is_gone_on_with() -> None:
    finding = Finding(place_at(), cut_off=True)
    assert "was cut off" in finding.sentences[0]
    assert SetOffset(finding.place) in plan([finding])


def test_each_base_table_with_rollups_names_its_bucket() -> None:
    def named(base: BaseTable) -> bool:
        return bool(base.bucket) == bool(base.rollups)

    assert named(EVENTS)
