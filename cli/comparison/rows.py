"""A topic's partition held against its table, row by row.

In: a range of the log, the rows that the table has there. Out: the offsets that lack, that are
doubled, or whose row is another record's. Never: a look into metadata; a change.

A row is the record's if it has its offset, and the same place and time in `track.events` besides:
after Kafka was restored, other records may have taken the offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.comparison.reading import read_pieces
from cli.comparison.runs import Runs
from cli.forgetting.marks import KnownMarks
from contracts.events import Reason
from contracts.forgetting import Marks
from contracts.tables import REJECTED_EVENTS, BaseTable
from processors.writer.commits import now_ms
from processors.writer.standing import is_expired
from runtime.clickhouse import AsyncClient

_SELECT_ROWS = """
SELECT kafka_offset, log_offset, toUnixTimestamp64Milli(received_at) FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16}
  AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
"""
_SELECT_LEFT = """
SELECT DISTINCT kafka_offset FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16}
  AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
"""
_SELECT_AHEAD = """
SELECT DISTINCT kafka_offset FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16} AND kafka_offset >= {first:UInt64}
"""
_SELECT_LOWEST = """
SELECT minOrNull(kafka_offset) FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16} AND kafka_offset < {end:UInt64}
"""
_SELECT_DOUBLED = """
SELECT kafka_offset FROM {{table:Identifier}}
WHERE kafka_partition = {{partition:UInt16}}
  AND kafka_offset BETWEEN {{first:UInt64}} AND {{last:UInt64}}
{of_topic} GROUP BY kafka_offset HAVING count() > 1 ORDER BY kafka_offset
"""
# So many offsets are grouped in memory at a time.
_AT_ONCE = 10_000_000
_OF_TOPIC = "  AND kafka_topic = {topic:String}\n"
_REFUSED = f"  AND reason = '{Reason.REFUSED_BY_STORAGE}'\n"
_NOT_REFUSED = f"  AND reason != '{Reason.REFUSED_BY_STORAGE}'\n"

Origin = tuple[int, int]
"""Where an event stood in `track.events`, and when it was received: what tells records apart."""
GONE: Origin = (-1, -1)
"""In place of an origin: the row went with a user who is forgotten."""
Covers = Callable[[bytes], bool]


@dataclass(slots=True)
class Rows:
    """What was found in a range.

    Attributes:
        records: how many records it has.
        lacking: offsets of records that the table must have and has not.
        doubled: offsets that it has more than once.
        foreign: offsets whose row is not the record's, or that have no record.
        forgotten: offsets whose row is of a user who is forgotten.
        expired: how many records are so old that the table may have dropped them.
        received_from: when the first of the records was received, in ms since 1970.
    """

    records: int = 0
    lacking: Runs = field(default_factory=Runs)
    doubled: Runs = field(default_factory=Runs)
    foreign: Runs = field(default_factory=Runs)
    forgotten: Runs = field(default_factory=Runs)
    expired: int = 0
    received_from: int | None = None

    @property
    def wrong(self) -> list[tuple[int, int]]:
        """The ranges in which rows are to be taken away."""
        return [*self.doubled.ranges, *self.foreign.ranges, *self.forgotten.ranges]


async def compare_rows(
    consumer: AIOKafkaConsumer,
    client: AsyncClient,
    base: BaseTable,
    where: TopicPartition,
    *,
    first: int,
    end: int,
    days: int,
    known: KnownMarks,
) -> Rows:
    """Compare the records from `first` to before `end` with the rows of these offsets.

    Where something is left of a user whose mark is not known, the marks are read again.

    Raises:
        ServerAwayError: Kafka has given nothing for a while.
    """
    rows, now = Rows(), now_ms()
    async for piece in read_pieces(consumer, where, first, end):
        found = await rows_between(client, base, where, piece.first, piece.last)
        if _has_unknown(base, piece.records, found, known.marks):
            await known.look_again()
        covers = cover_of(base, known.marks)
        judge(rows, piece.records, found, covers=covers, days=days, now=now)
    return rows


def cover_of(base: BaseTable, marks: Marks) -> Covers:
    """Return what tells whether a record of a table's topic is of a user who is forgotten."""
    return marks.cover_rejection if base.names_topic else marks.cover_row


def _has_unknown(
    base: BaseTable,
    records: Iterable[Any],
    found: Mapping[int, Sequence[Origin | None]],
    marks: Marks,
) -> bool:
    covers = cover_of(base, marks)
    return any(
        GONE in found.get(record.offset, ()) and not covers(record.value or b"")
        for record in records
    )


def judge(
    rows: Rows,
    records: Iterable[Any],
    found: Mapping[int, Sequence[Origin | None]],
    *,
    covers: Covers,
    days: int,
    now: int,
) -> None:
    """Note what is wrong with the rows of a piece; pieces come in the order of the log.

    A record that `covers` covers is of a user who is forgotten: something is left of it, and no
    row. Of nobody else's record may anything be left in place of the row.
    """
    expected = {record.offset: record.value or b"" for record in records}
    rows.records += len(expected)
    if rows.received_from is None and expected:
        rows.received_from = received_at(next(iter(expected.values())))
    for offset in sorted(expected.keys() | found.keys()):
        origins = found.get(offset, ())
        value = expected.get(offset)
        expired = value is not None and not origins and is_expired(value, days, now)
        rows.expired += expired
        kept = [origin for origin in origins if origin != GONE]
        is_covered = value is not None and covers(value)
        is_foreign = bool(origins) and (
            value is None or not _are_of(kept, value) or (GONE in origins and not is_covered)
        )
        is_forgotten = is_covered and bool(kept) and not is_foreign
        is_doubled = len(kept) > 1 and not is_foreign and not is_forgotten
        rows.lacking.note(offset, is_one=value is not None and not origins and not expired)
        rows.doubled.note(offset, is_one=is_doubled)
        rows.foreign.note(offset, is_one=is_foreign)
        rows.forgotten.note(offset, is_one=is_forgotten)


async def rows_between(
    client: AsyncClient, base: BaseTable, where: TopicPartition, first: int, last: int
) -> dict[int, list[Origin | None]]:
    """Return the rows of a range of a topic's offsets, those that were put aside among them.

    What was put aside tells nothing of the event's place: it is None. Where a row went with a user
    who is forgotten, there is `GONE`.
    """
    range_ = {"partition": where.partition, "first": first, "last": last, "topic": where.topic}
    select, aside = _SELECT_ROWS, _SELECT_ROWS + _OF_TOPIC
    if base.names_topic:
        select, aside = aside + _NOT_REFUSED, aside + _REFUSED
    found: dict[int, list[Origin | None]] = {}
    rows = await client.query(select, parameters={**range_, "table": base.name})
    for offset, log_offset, received_at in rows.result_rows:
        found.setdefault(offset, []).append((log_offset, received_at))
    rows = await client.query(aside, parameters={**range_, "table": REJECTED_EVENTS.name})
    for offset, *_ in rows.result_rows:
        found.setdefault(offset, []).append(None)
    for table, select in _left_of(base).items():
        rows = await client.query(select, parameters={**range_, "table": table})
        for (offset,) in rows.result_rows:
            found.setdefault(offset, []).append(GONE)
    return found


def _left_of(base: BaseTable) -> Mapping[str, str]:
    """Return the tables with what is left of a topic's rows, each with its SELECT."""
    selects = {REJECTED_EVENTS.forgotten: _SELECT_LEFT + _OF_TOPIC}
    if not base.names_topic:
        selects[base.forgotten] = _SELECT_LEFT
    return selects


async def offsets_from(
    client: AsyncClient, base: BaseTable, where: TopicPartition, first: int
) -> list[int]:
    """Return the offsets of a topic's rows from one on, in their order."""
    parameters = {"partition": where.partition, "first": first, "topic": where.topic}
    of_topic = (REJECTED_EVENTS.name, REJECTED_EVENTS.forgotten)
    tables = dict.fromkeys(of_topic, _SELECT_AHEAD + _OF_TOPIC)
    if not base.names_topic:
        tables |= dict.fromkeys((base.name, base.forgotten), _SELECT_AHEAD)
    found: set[int] = set()
    for table, select in tables.items():
        rows = await client.query(select, parameters={**parameters, "table": table})
        found.update(row[0] for row in rows.result_rows)
    return sorted(found)


async def doubled_before(
    client: AsyncClient, base: BaseTable, where: TopicPartition, end: int
) -> Runs:
    """Return the offsets before one that the table has more than once: Kafka may not have them."""
    if not end:
        return Runs()
    of_topic = _OF_TOPIC if base.names_topic else ""
    parameters = {"table": base.name, "partition": where.partition, "topic": where.topic}
    lowest = await client.query(_SELECT_LOWEST + of_topic, parameters={**parameters, "end": end})
    doubled, first = Runs(), lowest.first_row[0]
    while first is not None and first < end:
        last = min(first + _AT_ONCE, end) - 1
        rows = await client.query(
            _SELECT_DOUBLED.format(of_topic=of_topic),
            parameters={**parameters, "first": first, "last": last},
        )
        for (offset,) in rows.result_rows:
            if doubled and offset != doubled.ranges[-1][1] + 1:
                doubled.end()
            doubled.add(offset)
        first = last + 1
    return doubled


class _Received(msgspec.Struct):
    received_at: int


def received_at(value: bytes) -> int | None:
    """Return when a record's event was received; None where it does not say."""
    try:
        return msgspec.json.decode(value, type=_Received).received_at
    except msgspec.MsgspecError:
        return None


class _Named(msgspec.Struct):
    log_offset: int
    received_at: int


def _are_of(origins: Sequence[Origin | None], value: bytes) -> bool:
    """Tell whether rows are a record's own; a record that does not say where it is from has any."""
    try:
        named = msgspec.json.decode(value, type=_Named)
    except msgspec.MsgspecError:
        return True
    own = (named.log_offset, named.received_at)
    return all(origin is None or origin == own for origin in origins)
