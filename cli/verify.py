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
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from cli.table_settings import retention
from contracts.tables import (
    REJECTED_EVENTS,
    SELECT_VIEW,
    TABLE_OF_TOPIC,
    BaseTable,
    Rollup,
    recount_statement,
)
from contracts.timestamps import DAY_MS
from contracts.topics import Topics
from processors.writer.commits import now_ms
from processors.writer.rules import group_of
from processors.writer.standing import FaultError, is_expired
from processors.writer.standings import read_commits
from runtime.clickhouse import AsyncClient, ClickHouseError, connect
from runtime.kafka import open_consumer
from runtime.settings import Settings
from runtime.startup import StartupError, require_log

_CHUNK_RECORDS = 50_000
_SHOWN = 5
# What the writer is inserting is in the base table a moment before it is in the rollups.
_LOOKS, _BETWEEN_LOOKS_S = 6, 0.5

_SELECT_OFFSETS = """
SELECT kafka_offset FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16}
  AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
"""
_OF_TOPIC = "  AND kafka_topic = {topic:String}\n"
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
    except FaultError as error:
        raise StartupError(str(error)) from error
    except (KafkaError, ClickHouseError, TimeoutError) as error:
        raise StartupError(
            f"A server failed in the middle ({str(error) or type(error).__name__}); run it again."
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
    days = retention(settings)[base.name].days
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
            foreign |= await _ahead(client, settings, base, each)
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
    client: AsyncClient, settings: Settings, base: BaseTable, each: _Range
) -> set[int]:
    """Return the offsets in the table that were never announced.

    What the writer inserted since the range was made was announced before, so the announcement is
    asked for again, after the table.
    """
    found = await _offsets(client, base, each.where, each.announced + 1, _LAST_OFFSET)
    if not found:
        return set()
    _, announced = (await _commits(settings, [each.where]))[each.where]
    return {offset for offset in found if offset > announced}


async def _ranges(consumer: AIOKafkaConsumer, settings: Settings, topic: str) -> list[_Range]:
    places = [TopicPartition(topic, number) for number in range(settings.partitions)]
    commits = await _commits(settings, places)
    firsts = await consumer.beginning_offsets(places)
    return [_Range(where, firsts[where], *commits[where]) for where in places]


async def _commits(
    settings: Settings, places: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """Return the writer's next offset of each partition, and the last that it has announced."""
    group = group_of(settings.namespace)
    commits = await read_commits(settings.kafka_servers, group, places)
    return {
        where: (offset or 0, (offset or 0) - 1 if intent is None else intent.end)
        for where, (offset, intent) in commits.items()
    }


async def _chunks(consumer: AIOKafkaConsumer, each: _Range, days: int) -> AsyncIterator[_Chunk]:
    """Read a range and give it in pieces; their ends touch, whatever offsets have no record."""
    now = now_ms()
    consumer.assign([each.where])
    consumer.seek(each.where, each.first)
    first = position = each.first
    kept: set[int] = set()
    expired: set[int] = set()
    while position < each.committed:
        for record in (await consumer.getmany(each.where, timeout_ms=200)).get(each.where, ()):
            if record.offset < each.committed:
                gone = is_expired(record.value or b"", days, now)
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
    view = (await client.query(SELECT_VIEW, parameters={"view": rollup.view})).first_row[0]
    statement = recount_statement(settings.namespace, rollup, view)
    rows_days, rollup_days = (retention(settings)[each.name].days for each in (base, rollup))
    since = _whole_since(rows_days, rollup_days)
    # What a rollup forgets before the table does cannot be held against it.
    forgets_first = rollup_days > 0 and (rows_days == 0 or rollup_days < rows_days)
    differences = []
    for partition in range(settings.partitions):
        for least in (False, True):
            if least and forgets_first:
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
    """Return the second from which on nothing has expired, with an hour to spare."""
    finite = [each for each in days if each]
    if not finite:
        return 0
    # An event is never later than its receipt, from which its row is kept.
    return max(0, (now_ms() - min(finite) * DAY_MS) // 1000 + 3600)
