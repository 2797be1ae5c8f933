"""When a block goes, and whose turn it is."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as some

from processors.writer.pacing import (
    BLOCK_ROWS,
    GATHER_S,
    LONG_S,
    LONGEST_PAUSE_S,
    MUCH_MORE,
    PAUSE_FACTOR,
    Gathered,
    Turn,
    Turns,
    next_turn,
    wait_before_insert,
)


def _wait(gathered: Gathered, *, now: float) -> float:
    return wait_before_insert(gathered, 100.0, inserts_per_second=10, now=now)


def test_an_idle_partition_need_not_wait() -> None:
    assert _wait(Gathered(1, 100, since=200.0, more_in_log=MUCH_MORE - 1), now=200.0) <= 0


@pytest.mark.parametrize("rows", [1, BLOCK_ROWS])
def test_the_bound_on_inserts_holds_for_small_and_full_blocks(rows: int) -> None:
    gathered = Gathered(rows, 100, since=100.0, more_in_log=0)
    assert _wait(gathered, now=100.02) == pytest.approx(0.08)
    assert _wait(gathered, now=100.1) == pytest.approx(0)


def test_a_block_that_could_grow_is_waited_for_but_not_for_long() -> None:
    growing = Gathered(1, 100, since=200.0, more_in_log=MUCH_MORE)
    assert _wait(growing, now=200.0) == pytest.approx(GATHER_S)
    assert _wait(growing, now=200.0 + GATHER_S) <= 0


def test_only_a_small_block_needs_a_turn() -> None:
    assert not Gathered(BLOCK_ROWS - 1, 100, since=0.0, more_in_log=MUCH_MORE - 1).large
    assert Gathered(BLOCK_ROWS, 100, since=0.0, more_in_log=0).large
    assert Gathered(1, 100, since=0.0, more_in_log=MUCH_MORE).large


def test_a_hundred_times_the_rows_get_ten_times_the_turns() -> None:
    rows, since, turns, step_s = (100, 1), [0.0, 0.0], [0, 0], 0.001
    for number in range(1, 300):
        now = number * step_s
        gathered = [
            Gathered(int(1e4 * each * (now - at)), 0, at, 0)
            for each, at in zip(rows, since, strict=True)
        ]
        chosen = next_turn(gathered, now)
        turns[chosen] += 1
        since[chosen] = now
    assert 7 < turns[0] / turns[1] < 14


@given(some.lists(some.tuples(some.integers(1, 9_999), some.floats(0, 9)), min_size=1))
def test_nobody_waits_for_ever(waiting: list[tuple[int, float]]) -> None:
    gathered = [Gathered(rows, 0, since, 0) for rows, since in waiting]
    chosen = gathered[next_turn(gathered, 9 + LONG_S)]
    assert chosen.since == min(each.since for each in gathered)


class _Clock:
    """A clock that goes by itself, and can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


def _ask(turns: Turns, rows: int, since: float) -> tuple[Turn, asyncio.Event]:
    granted = asyncio.Event()
    return turns.ask(lambda: Gathered(rows, 0, since, 0), granted.set), granted


@pytest.mark.anyio
async def test_the_first_turn_comes_at_once_and_the_next_after_a_pause() -> None:
    clock = _Clock()
    turns, began = Turns(clock), clock()
    first, has_first = _ask(turns, 1, began)
    _, has_few = _ask(turns, 1, began)
    many, has_many = _ask(turns, 50, began - 0.001)  # first also where both have waited long
    assert has_first.is_set()
    clock.ahead += 0.1
    ended = clock()
    turns.end(first)
    assert not has_many.is_set()
    await asyncio.wait_for(has_many.wait(), 5)
    assert clock() - ended >= 0.1 * PAUSE_FACTOR * 0.95
    assert not has_few.is_set()
    turns.end(many)
    turns.end(many)
    await asyncio.wait_for(has_few.wait(), 5)


@pytest.mark.anyio
async def test_a_long_turn_has_a_bounded_pause() -> None:
    clock = _Clock()
    turns = Turns(clock)
    first, _ = _ask(turns, 1, clock())
    clock.ahead += 60
    turns.end(first)
    _, granted = _ask(turns, 1, clock())
    await asyncio.wait_for(granted.wait(), 10 * LONGEST_PAUSE_S)


@pytest.mark.anyio
async def test_who_gives_up_waiting_gets_no_turn_and_holds_nobody_up() -> None:
    clock = _Clock()
    turns = Turns(clock)
    first, _ = _ask(turns, 1, clock())
    gone, has_gone = _ask(turns, 99, clock())
    _, granted = _ask(turns, 1, clock())
    turns.end(gone)
    turns.end(first)
    await asyncio.wait_for(granted.wait(), 5)
    assert not has_gone.is_set()
