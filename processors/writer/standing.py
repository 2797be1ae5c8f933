"""How far each table has got, against what was committed: the rules, without ClickHouse or Kafka.

In: the group's offset and intent, the log's ends, the highest offset in each table, for one topic
and partition. Out: a sentence on what cannot be, or what is to be proven and filled. Never: a
clock, a repair that is not named here.

With `c` the committed offset, and `e` the end of the intent (`c - 1` where there is none):
- No table is ahead: each highest offset is at most `e`.
- The base table, with the rows of it that were refused or have gone with a user who is forgotten,
  is not behind: every record of the log before `c` is at most at its highest offset, or is older
  than the table keeps rows. Nothing is in doubt where the highest offset is `c - 1` or more.
- A rollup that is not as far as the base table is before `c` lacks exactly the offsets between:
  one block is one part of a rollup, so it is there wholly or not at all.
- From `c` to `e` tables may differ: this range is inserted again, and then each is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from contracts.timestamps import DAY_MS
from processors.writer.ranges import Intent

REPAIR = "Run `track repair`, which fills the tables from the topics."


class FaultError(Exception):
    """Tables, log and offsets cannot belong together as they are; the message names a way out."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one topic and partition stands; `None` is: no offset, no row.

    `rows` is the highest offset in the base table, `refused` that among its rows which were put
    aside, `forgotten` that among its rows which went with their users; `log_end` is the offset
    after the last record that can be read.
    """

    committed: int | None
    intent: Intent | None
    log_start: int
    log_end: int
    rows: int | None
    refused: int | None
    rollups: Mapping[str, int | None]
    forgotten: int | None = None

    @property
    def base(self) -> int | None:
        """The highest offset that is accounted for in the base table."""
        heights = (self.rows, self.refused, self.forgotten)
        return max((height for height in heights if height is not None), default=None)

    @property
    def lags_in_rollups(self) -> bool:
        """Whether a rollup is not as far as the base table, which an intent may explain."""
        rows = self.rows
        return rows is not None and any(h is None or h < rows for h in self.rollups.values())

    @property
    def first(self) -> int:
        """The offset that the next block begins at."""
        return self.log_start if self.committed is None else self.committed


def require_possible(name: str, standing: Standing) -> None:
    """Check what can be checked without reading the log; `name` says which partition.

    Raises:
        FaultError: the offset lies outside of the log, there is none although there are rows, or a
            table is ahead.
    """
    heights = {"the base table": standing.base, **standing.rollups}
    highest = max(((h, table) for table, h in heights.items() if h is not None), default=None)
    if standing.committed is None:
        if highest is not None:
            raise FaultError(
                f"{name}: the group of the writer has no offset, but {highest[1]} has rows up to "
                f"offset {highest[0]}. {REPAIR}"
            )
        return
    if standing.committed < standing.log_start:
        raise FaultError(
            f"{name}: the next offset is {standing.committed}, but the log begins at "
            f"{standing.log_start}: Kafka no longer has what lies between. {REPAIR}"
        )
    end = standing.committed - 1 if standing.intent is None else standing.intent.end
    if standing.committed > standing.log_end or end >= standing.log_end:
        raise FaultError(
            f"{name}: offsets up to {end} were announced, but the log ends at "
            f"{standing.log_end}: it is not the log that was read before. {REPAIR}"
        )
    if highest is not None and highest[0] > end:
        raise FaultError(
            f"{name}: {highest[1]} has rows up to offset {highest[0]}, but only {end} was "
            f"announced: offsets were reset, or Kafka was restored. {REPAIR}"
        )


def doubtful_from(standing: Standing) -> int | None:
    """Return the offset from which the log must be read up to the committed one, if any.

    If a record lies between, the base table lacks it.
    """
    known = -1 if standing.base is None else standing.base
    first = max(known + 1, standing.log_start)
    return first if first < standing.first else None


def missing_in_rollup(height: int | None, base_before: int | None) -> tuple[int, int] | None:
    """Return the range of offsets that a rollup lacks, given the base's highest before `c`."""
    if base_before is None or (height is not None and height >= base_before):
        return None
    return (0 if height is None else height + 1), base_before


class _Received(msgspec.Struct):
    received_at: int


def is_expired(line: bytes, days: int, now_ms: int) -> bool:
    """Tell whether a table that keeps rows for so many days (0 = for ever) may have dropped one."""
    try:
        received_at = msgspec.json.decode(line, type=_Received).received_at
    except msgspec.MsgspecError:
        return False
    return days > 0 and received_at < now_ms - days * DAY_MS


def behind(name: str, table: str, what: str) -> FaultError:
    """Return the fault of a table that lacks rows which were inserted."""
    return FaultError(f"{name}: {table} {what}. {REPAIR}")
