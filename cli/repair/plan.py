"""What a repair does about what was found: findings in, steps out.

In: the findings of all partitions. Out: the steps, in their order. Never: a server.

A partition with which anything is wrong is brought to the log's end, and its offset with it. No
range of its records was ever announced from there on, so the writer goes on under tokens that
ClickHouse cannot know yet; a range that begins earlier it may take for one that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.comparison.places import Place
from cli.comparison.runs import merge
from cli.repair.findings import Finding
from contracts.tables import DEDUPLICATED, Rollup

_MOST_RANGES = 500
LAST_OFFSET = 2**64 - 1


@dataclass(frozen=True, slots=True)
class ForgetTokens:
    """Make tables anew from their own parts: the tokens that they remember are gone then."""

    tables: tuple[str, ...]

    def __str__(self) -> str:
        """What it does."""
        return f"let {', '.join(self.tables)} forget the tokens of records that are gone"


@dataclass(frozen=True, slots=True)
class RemoveRows:
    """Take the rows of ranges of offsets out of a partition's table."""

    place: Place
    ranges: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """What it does."""
        return f"{self.place}: take the wrong rows out of {self.place.base.name}"


@dataclass(frozen=True, slots=True)
class KeepOne:
    """Keep one row of each offset in ranges that Kafka no longer has."""

    place: Place
    ranges: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """What it does."""
        return f"{self.place}: keep one row in {self.place.base.name} where there are two"


@dataclass(frozen=True, slots=True)
class InsertRows:
    """Insert what a partition's table lacks from an offset to the log's end."""

    place: Place
    first: int

    def __str__(self) -> str:
        """What it does."""
        base, last = self.place.base.name, self.place.standing.log_end - 1
        return f"{self.place}: insert what {base} lacks of the offsets {self.first} to {last}"


@dataclass(frozen=True, slots=True)
class MendRollup:
    """Count again what differs in a partition of a rollup, and add what it does not count."""

    place: Place
    rollup: Rollup
    whole: bool
    received_from: int | None

    def __str__(self) -> str:
        """What it does."""
        return f"{self.place}: count {self.rollup.name} again where it differs"


@dataclass(frozen=True, slots=True)
class SetOffset:
    """Let the writer go on from the log's end."""

    place: Place

    def __str__(self) -> str:
        """What it does."""
        return f"{self.place}: let the writer go on from offset {self.place.standing.log_end}"


@dataclass(frozen=True, slots=True)
class ForgetUsers:
    """Take the rows of users out who are forgotten: somebody has put an older state back."""

    def __str__(self) -> str:
        """What it does."""
        return "take out the rows of users who are forgotten"


Step = ForgetTokens | RemoveRows | KeepOne | InsertRows | ForgetUsers | MendRollup | SetOffset


def plan(findings: Sequence[Finding], *, forgotten_are_kept: bool = False) -> list[Step]:
    """Return the steps that mend what was found; none where nothing is wrong.

    `forgotten_are_kept` says that tables have rows of users who are forgotten, whether or not Kafka
    still has their records.
    """
    is_other_log = any(finding.is_other_log for finding in findings)
    wrong = [finding for finding in findings if is_other_log or finding.sentences]
    steps: list[Step] = []
    if is_other_log:
        # Before rows are taken away: they are what shows that it is needed.
        steps.append(ForgetTokens(DEDUPLICATED))
    for finding in wrong:
        ranges = merge(finding.wrong, _MOST_RANGES)
        if finding.beyond:
            ranges.append((finding.place.standing.log_end, LAST_OFFSET))
        if ranges:
            steps.append(RemoveRows(finding.place, tuple(ranges)))
        if finding.older:
            ranges = merge(finding.older.ranges, _MOST_RANGES)
            steps.append(KeepOne(finding.place, tuple(ranges)))
    steps += [
        InsertRows(finding.place, first)
        for finding in wrong
        if (first := _first_lacking(finding)) is not None
    ]
    if forgotten_are_kept:
        steps.append(ForgetUsers())
    steps += [
        MendRollup(finding.place, rollup, finding.whole, finding.received_from)
        for finding in findings
        for rollup in finding.place.base.rollups
        if finding in wrong or (forgotten_are_kept and not rollup.keeps_forgotten)
    ]
    return [*steps, *(SetOffset(finding.place) for finding in wrong)]


def _first_lacking(finding: Finding) -> int | None:
    """Return the first offset that lacks, or will once the wrong rows are gone."""
    lacking = (finding.committed.lacking, finding.after.lacking)
    ranges = [*finding.wrong, *(each for runs in lacking for each in runs.ranges)]
    return min((first for first, _ in ranges), default=None)
