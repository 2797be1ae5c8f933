"""The manifest: what it says comes back, and nothing else is taken for one."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.parquet.manifest import (
    Day,
    File,
    Manifest,
    ManifestError,
    Span,
    decode_manifest,
    describe_difference,
    encode_manifest,
)

LOG = "0123456789abcdef" * 2
DAY = date(2025, 1, 18)
NAME = "day=2025-01-18/1/0000.parquet"
EXPORTED = Day(
    rows=3,
    bytes=900,
    exported_at="2025-01-19T00:05:00Z",
    partitions={0: Span(2, 10, 14), 11: Span(1, 7, 7)},
    files=[File(NAME, 3, 900, "a" * 64)],
)
MANIFEST = Manifest.of(LOG).with_day(DAY, EXPORTED)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


def changed(path: str, value: Any) -> bytes:
    """Return the manifest with one value another one; a path of keys and places."""
    found = json.loads(encode_manifest(MANIFEST))
    *parents, last = path.split("/")
    inner = found
    for each in parents:
        inner = inner[int(each) if isinstance(inner, list) else each]
    inner[int(last) if isinstance(inner, list) else last] = value
    return json.dumps(found).encode()


def test_it_comes_back() -> None:
    assert decode_manifest(encode_manifest(MANIFEST)) == MANIFEST
    assert decode_manifest(encode_manifest(Manifest.of(LOG))) == Manifest.of(LOG)


def test_days_stand_in_their_order() -> None:
    earlier = MANIFEST.with_day(date(2024, 12, 31), EXPORTED)
    assert list(earlier.days) == [date(2024, 12, 31), DAY]


FILE = "days/2025-01-18/files/0"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is no manifest"),
        (b"[]", "it is no manifest"),
        (b'{"format":1', "it is no manifest"),
        (b"[" * 100_000, "it is no manifest"),
        (changed("format", 2), "its format is 2, and this version reads 1"),
        (changed("more", 1), "it is no manifest"),
        (changed("log", "mine"), "it names no log: 'mine'"),
        (changed("days/yesterday", {}), "it is no manifest"),
        (changed("days/2025-01-18/rows", "3"), "it is no manifest"),
        (changed("days/2025-01-18/rows", 4), "day 2025-01-18 has other rows than its files"),
        (changed("days/2025-01-18/bytes", 4), "has other bytes than its files"),
        (changed("days/2025-01-18/partitions/0/rows", 3), "has other rows than its partitions"),
        (changed(f"{FILE}/sha256", "A" * 64), "has a file without its SHA-256"),
        (changed(f"{FILE}/name", "../../etc/passwd"), "names a file '../../etc/passwd'"),
        (changed(f"{FILE}/name", "/etc/passwd"), "names a file"),
        (changed(f"{FILE}/name", f"../{NAME}"), "names a file"),
        (changed(f"{FILE}/name", f"{NAME}\n"), "names a file"),
        (changed(f"{FILE}/name", "day=2025-01-19/1/0000.parquet"), "names a file"),
        (changed(f"{FILE}/name", "day=2025-01-18/../0000.parquet"), "names a file"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(ManifestError, match=said.replace("(", r"\(")):
        decode_manifest(data)


def test_a_file_that_is_named_twice_is_refused() -> None:
    twice = json.loads(encode_manifest(MANIFEST))
    day = twice["days"]["2025-01-18"]
    day |= {"rows": 6, "bytes": 1800, "files": day["files"] * 2}
    day["partitions"]["0"]["rows"] = 5
    with pytest.raises(ManifestError, match="names a file twice"):
        decode_manifest(json.dumps(twice).encode())


@given(values)
def test_whatever_stands_there_is_refused_and_never_fails(value: Any) -> None:
    with pytest.raises(ManifestError):
        decode_manifest(json.dumps(value).encode())


@given(st.sampled_from(["format", "log", "days", "days/2025-01-18", FILE]), values)
def test_a_part_that_is_another_is_refused_or_sound(path: str, value: Any) -> None:
    try:
        manifest = decode_manifest(changed(path, value))
    except ManifestError:
        return
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_the_first_partition_that_differs_is_named() -> None:
    wanted = EXPORTED.partitions
    assert describe_difference(wanted, dict(reversed(wanted.items()))) is None
    assert describe_difference(wanted, {0: Span(2, 10, 14)}) == (
        "partition 11 has no rows, and must have 1 row of offsets 7 to 7"
    )
    assert describe_difference(wanted, {**wanted, 0: Span(2, 10, 12)}) == (
        "partition 0 has 2 rows of offsets 10 to 12, and must have 2 rows of offsets 10 to 14"
    )
    assert describe_difference({}, wanted) == (
        "partition 0 has 2 rows of offsets 10 to 14, and must have no rows"
    )


offsets = st.sets(st.integers(0, 12))


@given(offsets, offsets, st.data())
def test_rows_may_be_missing_that_are_forgotten(
    kept: set[int], forgotten: set[int], data: st.DataObject
) -> None:
    """The manifest was written when all, some or none of the forgotten were still there."""
    forgotten -= kept
    some = data.draw(st.sets(st.sampled_from(sorted(forgotten)))) if forgotten else set[int]()
    exported = tally_of(kept | some)
    assert describe_difference(exported, tally_of(kept), tally_of(forgotten)) is None


def test_rows_that_are_missing_besides_are_named() -> None:
    wanted, forgotten = {0: Span(10, 1, 10)}, {0: Span(2, 4, 10)}
    assert describe_difference(wanted, {0: Span(8, 1, 9)}, forgotten) is None
    for found in (Span(7, 1, 9), Span(8, 2, 9), Span(11, 1, 10), Span(10, 1, 11)):
        assert describe_difference(wanted, {0: found}, forgotten) is not None, found
    assert describe_difference(wanted, {}, forgotten) is not None
    assert describe_difference({}, wanted, forgotten) is not None


def tally_of(offsets: set[int]) -> dict[int, Span]:
    """Return the tally of a partition that has these offsets."""
    return {0: Span(len(offsets), min(offsets), max(offsets))} if offsets else {}
