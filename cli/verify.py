"""`track verify`: topics, tables and rollups held against each other; what differs is said.

In: settings. Out: a line for each topic and rollup, a sentence for each difference; whether there
was none. Never: a change; a difference that only the moment makes: what the writer is inserting
meanwhile is looked at again.

Rows are compared by their offsets, from the first record that Kafka still has to the last that was
committed. Rollups are counted again from the rows: what began within the days that rows are kept
must agree wholly; what began before may count rows that are gone, but never fewer than there are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.tables import (
    REJECTED_EVENTS,
    TABLE_OF_TOPIC,
    BaseTable,
    Rollup,
    recount_statement,
)
from contracts.topics import Topics
from processors.writer.ranges import decode_intent
from processors.writer.standing import is_expired
from runtime.clickhouse import AsyncClient, ClickHouseError, connect
from runtime.kafka import open_admin, open_consumer
from runtime.settings import Settings
from runtime.startup import StartupError, require_log

_CHUNK_RECORDS = 50_000
_SHOWN = 5
# What the writer is inserting is in the base table a moment before it is in the rollups.
_LOOKS, _BETWEEN_LOOKS_S = 6, 0.5
_DAY_S = 86_400
_SHORTEST_MONTH_DAYS = 28

_SELECT_OFFSETS = """
SELECT kafka_offset FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16}
  AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
"""
_OF_TOPIC = "  AND kafka_topic = {topic:String}\n"
_SELECT_VIEW = """
SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = {view:String}
"""
_LAST_OFFSET = 2**64 - 1


@dataclass(slots=True)
class Compared:
    """What was compared, and each difference as a sentence."""

    what: str
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A line for people, and one more for each difference."""
        mark = "✗" if self.differences else "✓"
        return "\n    ".join((f"{mark} {self.what}", *self.differences))


def verify(settings: Settings) -> bool:
    """Compare everything and print what was found; return whether all agrees.

    Raises:
        StartupError: Kafka or ClickHouse does not answer, or they belong to different logs.
    """
    return asyncio.run(_verify(settings))


async def _verify(settings: Settings) -> bool:
    await require_log(settings)
    agrees = True
    try:
        async for compared in compare(settings):
            click.echo(str(compared))
            agrees = agrees and not compared.differences
    except (KafkaError, ClickHouseError, TimeoutError) as error:
        raise StartupError(
            f"A server failed in the middle ({error or type(error).__name__}); run it again."
        ) from error
    return agrees


async def compare(settings: Settings) -> AsyncIterator[Compared]:
    """Give what was compared: each topic with its table, then the table with its rollups."""
    client = await connect(settings)
    topics = Topics.of(settings.namespace)
    try:
        for name, base in TABLE_OF_TOPIC.items():
            yield await _compare_topic(client, settings, getattr(topics, name), base)
            for rollup in base.rollups:
                yield await _compare_rollup(client, settings, base, rollup)
    finally:
        await client.close()


# --- a topic and its table ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Range:
    """What of a partition is compared: from offset `first` to before `committed`.

    `announced` is the last offset that the table may have: that of an insert under way.
    """

    where: TopicPartition
    first: int
    committed: int
    announced: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Records that follow on each other: those that the table must have, and those it may lack."""

    first: int
    last: int
    kept: frozenset[int]
    expired: frozenset[int]


async def _compare_topic(
    client: AsyncClient, settings: Settings, topic: str, base: BaseTable
) -> Compared:
    count, differences = 0, []
    days = _days_kept(settings)[base.name]
    async with open_consumer(settings.kafka_servers) as consumer:
        for each in await _ranges(consumer, settings, topic):
            lacking: set[int] = set()
            doubled: set[int] = set()
            foreign: set[int] = set()
            async for chunk in _chunks(consumer, each, days):
                found = Counter(await _offsets(client, base, each.where, chunk.first, chunk.last))
                lacking |= chunk.kept - found.keys()
                doubled |= {offset for offset, times in found.items() if times > 1}
                foreign |= found.keys() - chunk.kept - chunk.expired
                count += len(chunk.kept) + len(chunk.expired)
            foreign |= await _ahead(client, consumer, settings, base, each)
            differences += [
                f"partition {each.where.partition}: {base.name} {what} {_listed(offsets)}"
                for what, offsets in (
                    ("lacks", lacking),
                    ("has twice", doubled),
                    ("has without a record that was committed", foreign),
                )
                if offsets
            ]
    return Compared(f"{topic} and {base.name}: {count:,} records", differences)


async def _ahead(
    client: AsyncClient,
    consumer: AIOKafkaConsumer,
    settings: Settings,
    base: BaseTable,
    each: _Range,
) -> set[int]:
    """Return the offsets in the table that were never announced.

    What the writer inserted since the range was made was announced before, so the announcement is
    asked for again, after the table.
    """
    found = await _offsets(client, base, each.where, each.announced + 1, _LAST_OFFSET)
    if not found:
        return set()
    now = (await _ranges(consumer, settings, each.where.topic))[each.where.partition]
    return {offset for offset in found if offset > now.announced}


async def _ranges(consumer: AIOKafkaConsumer, settings: Settings, topic: str) -> list[_Range]:
    places = [TopicPartition(topic, number) for number in range(settings.partitions)]
    async with open_admin(settings.kafka_servers) as admin:
        offsets = await admin.list_consumer_group_offsets(
            f"{settings.namespace}.writer", partitions=places
        )
    firsts = await consumer.beginning_offsets(places)
    ranges = []
    for where in places:
        committed, metadata = offsets.get(where, (0, ""))
        committed = max(0, committed)
        intent = decode_intent(metadata)
        announced = committed - 1 if intent is None else intent.end
        ranges.append(_Range(where, firsts[where], committed, announced))
    return ranges


async def _chunks(consumer: AIOKafkaConsumer, each: _Range, days: int) -> AsyncIterator[_Chunk]:
    """Read a range and give it in pieces; their ends touch, whatever offsets have no record."""
    now_ms = time.time_ns() // 1_000_000
    consumer.assign([each.where])
    consumer.seek(each.where, each.first)
    first = position = each.first
    kept: set[int] = set()
    expired: set[int] = set()
    while position < each.committed:
        for record in (await consumer.getmany(each.where, timeout_ms=200)).get(each.where, ()):
            if record.offset < each.committed:
                gone = is_expired(record.value or b"", days, now_ms)
                (expired if gone else kept).add(record.offset)
        position = await consumer.position(each.where)
        if len(kept) + len(expired) >= _CHUNK_RECORDS or position >= each.committed:
            last = min(position, each.committed) - 1
            yield _Chunk(first, last, frozenset(kept), frozenset(expired))
            first, kept, expired = last + 1, set(), set()


async def _offsets(
    client: AsyncClient, base: BaseTable, where: TopicPartition, first: int, last: int
) -> list[int]:
    """Return the offsets of a topic's rows, those that were refused and put aside among them."""
    range_ = {"partition": where.partition, "first": first, "last": last, "topic": where.topic}
    offsets: list[int] = []
    if not base.names_topic:
        rows = await client.query(_SELECT_OFFSETS, parameters={**range_, "table": base.name})
        offsets += (row[0] for row in rows.result_rows)
    aside = {**range_, "table": REJECTED_EVENTS.name}
    rows = await client.query(_SELECT_OFFSETS + _OF_TOPIC, parameters=aside)
    return [*offsets, *(row[0] for row in rows.result_rows)]


def _listed(offsets: Iterable[int]) -> str:
    """Return offsets as text: the first few runs of them, and how many there are."""
    runs: list[list[int]] = []
    for offset in sorted(offsets):
        if runs and offset == runs[-1][1] + 1:
            runs[-1][1] = offset
        else:
            runs.append([offset, offset])
    count = sum(last - first + 1 for first, last in runs)
    shown = ", ".join(
        str(first) if first == last else f"{first} to {last}" for first, last in runs[:_SHOWN]
    )
    more = ", …" if len(runs) > _SHOWN else ""
    return f"{count:,} offset{'s' * (count > 1)}: {shown}{more}"


# --- a table and its rollups ----------------------------------------------------------------------


async def _compare_rollup(
    client: AsyncClient, settings: Settings, base: BaseTable, rollup: Rollup
) -> Compared:
    view = (await client.query(_SELECT_VIEW, parameters={"view": rollup.view})).first_row[0]
    statement = recount_statement(settings.namespace, base, rollup, view)
    rows_days, rollup_days = (_days_kept(settings)[name] for name in (base.name, rollup.name))
    since = _whole_since(rows_days, rollup_days)
    differences = []
    for partition in range(settings.partitions):
        for least in (False, True):
            # What the rollup forgets before the table does cannot be held against it.
            if least and 0 < rollup_days < (rows_days or rollup_days + 1):
                continue
            parameters = {"partition": partition, "since": since, "least": least, "limit": _SHOWN}
            found = await _lasting(client, statement, parameters)
            differences += [f"partition {partition}: {_sentence(rollup, row)}" for row in found]
    return Compared(f"{base.name} and {rollup.name}", differences)


async def _lasting(
    client: AsyncClient, statement: str, parameters: dict[str, int]
) -> list[tuple[object, ...]]:
    """Return what differs, and goes on doing so."""
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_BETWEEN_LOOKS_S)
        found = [tuple(row) for row in (await client.query(statement, parameters)).result_rows]
        if not found:
            return []
    return found


def _sentence(rollup: Rollup, row: tuple[object, ...]) -> str:
    keys = len(rollup.key)
    key = ", ".join(f"{name} {value}" for name, value in zip(rollup.key, row, strict=False))
    pairs = zip(rollup.states, row[keys::2], row[keys + 1 :: 2], strict=True)
    wrong = (f"{state} is {has}, the rows give {give}" for state, give, has in pairs if has != give)
    return f"{rollup.name}, {key}: {'; '.join(wrong)}"


def _whole_since(*days: int) -> int:
    """Return the second from which on nothing has expired, in whole quarters of an hour."""
    finite = [each for each in days if each]
    if not finite:
        return 0
    # An event is never later than its receipt, from which its row is kept.
    return max(0, int(time.time()) - min(finite) * _DAY_S + 3600)


def _days_kept(settings: Settings) -> dict[str, int]:
    """Return for how many days each table keeps rows at least; 0 = for ever."""
    return {
        "events": settings.events_days,
        "sessions": settings.sessions_days,
        "rejected_events": settings.rejected_days,
        "event_counts_15m": settings.counts_days,
        "user_counts_15m": settings.user_counts_months * _SHORTEST_MONTH_DAYS,
        "session_stats_15m": settings.sessions_days,
    }
