"""Buckets by a clock of the test's own: how many come through, how long others wait."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.access.rates import PLACE_BYTES, WAYS, Buckets, Limit

SECRET = b"s" * 32


def buckets(per_s: int = 10, burst_s: int = 2, places: int = 64) -> Buckets:
    memory = memoryview(bytearray(places * PLACE_BYTES))
    return Buckets(Limit("key", per_s, burst_s), memory, SECRET)


def taken(limited: Buckets, who: bytes, now: float, tries: int = 1000) -> int:
    return sum(limited.take(who, now) >= 0 for _ in range(tries))


def test_a_burst_and_then_so_many_a_second() -> None:
    limited = buckets()
    assert taken(limited, b"a", 100.0) == 20
    assert taken(limited, b"a", 100.05) == 0
    assert taken(limited, b"a", 100.1001) == 1
    assert taken(limited, b"a", 101.1002) == 10
    assert taken(limited, b"a", 1000.0) == 20


def test_everybody_has_a_bucket() -> None:
    limited = buckets()
    assert [taken(limited, who, 100.0) for who in (b"a", b"b", b"")] == [20, 20, 20]


def test_it_says_how_long_to_wait() -> None:
    limited = buckets(per_s=1, burst_s=3)
    assert taken(limited, b"a", 100.0) == 3
    wait_s = -limited.take(b"a", 100.25)
    assert wait_s == pytest.approx(0.75)
    assert limited.take(b"a", 100.25 + wait_s - 0.001) < 0
    assert limited.take(b"a", 100.25 + wait_s + 0.001) >= 0


def test_a_refusal_costs_nothing() -> None:
    limited = buckets()
    taken(limited, b"a", 100.0, tries=100_000)
    assert taken(limited, b"a", 101.0001) == 10


def test_many_at_once() -> None:
    limited = buckets()
    assert limited.take(b"a", 100.0, 15) >= 0
    assert limited.take(b"a", 100.0, 6) < 0
    assert limited.take(b"a", 100.0, 5) >= 0


def test_more_than_the_quota_costs_the_whole_quota() -> None:
    limited = buckets()
    assert limited.take(b"a", 100.0, 1_000_000) >= 0
    assert limited.take(b"a", 101.9, 1_000_000) < 0
    assert limited.take(b"a", 102.1, 1_000_000) >= 0


def test_a_clock_that_begins_anew_refuses_nobody() -> None:
    limited = buckets()
    taken(limited, b"a", 1_000_000.0)
    assert taken(limited, b"a", 5.0) == 20


def test_what_the_headers_say() -> None:
    limit = Limit("address", 10, 2)
    assert limit.policy == b'"address";q=20;w=2'
    assert limit.state(2.0) == b'"address";r=20;t=0'
    assert limit.state(1.9) == b'"address";r=19;t=1'
    assert limit.state(0.0) == b'"address";r=0;t=2'
    assert limit.state(-0.5) == b'"address";r=0;t=2'


def test_the_rest_counts_down_by_one() -> None:
    limited = buckets(per_s=3, burst_s=7)
    states = [limited.limit.state(limited.take(b"a", 12_345.678)) for _ in range(21)]
    assert [int(each.split(b"r=")[1].split(b";")[0]) for each in states] == [*range(20, -1, -1)]


@given(
    st.integers(1, 1000),
    st.integers(1, 20),
    st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=30),
)
def test_never_more_than_the_burst_and_the_rate(
    per_s: int, burst_s: int, pauses: list[float]
) -> None:
    limited, now, times = buckets(per_s, burst_s), 1_000.0, []
    for pause in pauses:
        now += pause
        left_s = limited.take(b"a", now)
        if left_s >= 0:
            times.append(now)
        else:
            assert -left_s <= 1 / per_s + 1e-6
    for first in range(len(times)):
        for last in range(first, len(times)):
            most = per_s * (times[last] - times[first] + burst_s)
            assert last - first + 1 <= math.floor(most + 0.01)


def test_however_many_addresses_come_memory_stays_and_nobody_new_is_refused() -> None:
    limited = buckets(places=64)
    for number in range(50_000):
        assert limited.take(b"%d" % number, 100.0) >= 0
    assert len(limited._places) <= 10_000
    assert len(limited._owners) == 64


def test_a_flood_of_addresses_does_not_empty_a_bucket_that_is_in_use() -> None:
    limited = buckets(per_s=10, burst_s=2, places=WAYS * 4)
    assert taken(limited, b"busy", 100.0) == 20
    for number in range(1_000):
        limited.take(b"%d" % number, 100.1)
    assert taken(limited, b"busy", 100.1) <= 1


def test_a_place_that_somebody_else_was_given_is_not_used_any_more() -> None:
    limited = buckets(places=WAYS)
    limited.take(b"first", 100.0)
    for number in range(WAYS):
        taken(limited, b"%d" % number, 101.0)
    assert taken(limited, b"first", 101.0) == 20
    assert taken(limited, b"first", 101.0) == 0


def test_two_processes_share_the_buckets() -> None:
    memory = memoryview(bytearray(64 * PLACE_BYTES))
    one, two = (Buckets(Limit("key", 10, 2), memory, SECRET) for _ in range(2))
    assert taken(one, b"a", 100.0, tries=12) == 12
    assert taken(two, b"a", 100.0) == 8
    assert taken(one, b"a", 100.0) == 0
