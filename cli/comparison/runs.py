"""Offsets of one kind, kept as runs: as many as there are, in little memory.

In: offsets in rising order, and where a run ends. Out: ranges, and a text for people. Never: the
offsets one by one.
"""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 5


class Runs:
    """Offsets as inclusive ranges; an offset that Kafka gave to no record breaks no range."""

    __slots__ = ("_broken", "count", "ranges")

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.count = 0
        self._broken = True

    def __bool__(self) -> bool:
        """Tell whether there is any offset."""
        return self.count > 0

    def __str__(self) -> str:
        """The number of offsets, and the first few ranges of them."""
        shown = ", ".join(
            str(first) if first == last else f"{first} to {last}"
            for first, last in self.ranges[:_SHOWN]
        )
        more = ", …" if len(self.ranges) > _SHOWN else ""
        return f"{self.count:,} offset{'s' * (self.count > 1)}: {shown}{more}"

    @property
    def first(self) -> int:
        """The lowest offset; there must be one."""
        return self.ranges[0][0]

    def add(self, offset: int) -> None:
        """Add an offset, higher than all before."""
        if self._broken:
            self.ranges.append((offset, offset))
        else:
            self.ranges[-1] = (self.ranges[-1][0], offset)
        self._broken = False
        self.count += 1

    def put_before(self, earlier: Runs) -> None:
        """Add offsets that are all lower."""
        self.ranges[:0] = earlier.ranges
        self.count += earlier.count

    def end(self) -> None:
        """End the range: the next offset is of another kind."""
        self._broken = True

    def note(self, offset: int, *, is_one: bool) -> None:
        """Add the next offset if it is one of the kind, else end the range."""
        if is_one:
            self.add(offset)
        else:
            self._broken = True


def merge(ranges: Iterable[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return at most so many ranges that cover these; the smallest gaps are closed."""
    ordered: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if ordered and first <= ordered[-1][1] + 1:
            ordered[-1] = (ordered[-1][0], max(last, ordered[-1][1]))
        else:
            ordered.append((first, last))
    gaps = sorted(range(1, len(ordered)), key=lambda i: ordered[i][0] - ordered[i - 1][1])
    closed = set(gaps[: max(0, len(ordered) - most)])
    merged: list[tuple[int, int]] = []
    for index, each in enumerate(ordered):
        if index in closed:
            merged[-1] = (merged[-1][0], each[1])
        else:
            merged.append(each)
    return merged
