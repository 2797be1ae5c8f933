from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.timestamps import parse_timestamp
from processors.sessionizer.duplicates import DAY_MS, DuplicateWindow
from tests.vectors import cases, ids


@pytest.mark.parametrize("case", cases("duplicates"), ids=ids("duplicates"))
def test_vectors(case: dict[str, Any]) -> None:
    window = DuplicateWindow(case["window"])
    accepted = []
    for offset, user, event_id, arrival in case["events"]:
        received_at = parse_timestamp(arrival)
        assert received_at is not None
        if event_id is None or not window.observe(user, event_id, offset, received_at):
            accepted.append(offset)
    assert accepted == case["accepted"]


@given(
    st.integers(1, 12),
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 5)),
        max_size=80,
    ),
    st.data(),
)
def test_it_is_the_rule_itself_also_when_filled_again(
    size: int, steps: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Against the rule, read literally: arrival may go anywhere, offsets have holes."""
    window, offset = DuplicateWindow(size), 0
    seen: list[tuple[int, str, int]] = []
    restart = data.draw(st.integers(0, len(steps)))
    for number, (hop, event_id, half_days) in enumerate(steps):
        offset += hop
        at = half_days * DAY_MS // 2
        if number == restart:
            window = DuplicateWindow(size)
            for old in seen:
                if old[0] >= offset - hop + 1 - size:
                    window.observe("u", old[1], old[0], old[2])
        expected = any(
            id_ == str(event_id) and offset - place <= size and at - arrival <= DAY_MS
            for place, id_, arrival in seen
        )
        assert window.observe("u", str(event_id), offset, at) is expected
        seen.append((offset, str(event_id), at))


def test_one_id_a_hundred_thousand_times_stays_quick() -> None:
    window = DuplicateWindow(1_000_000)
    known = [window.observe("u", "a", offset, offset) for offset in range(100_000)]
    assert known == [False] + [True] * 99_999


def test_memory_per_million() -> None:
    window = DuplicateWindow(1_000_000)
    for offset in range(200_000):
        window.observe("u", str(offset), offset, offset)
    current = window._current
    size = sum(
        len(each) * each.itemsize
        for each in (current.table, current.identities, current.offsets, current.arrivals)
    )
    assert size / len(window) < 100
