"""What is wrong with each partition: the findings that a repair is planned from.

In: settings, a reader of the log, the tables. Out: a `Finding` for each partition. Never: a change.

Everything is read by what `track verify` reads with; a repair looks further, to the log's end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer

from cli.comparison.places import Place, read_places
from cli.comparison.rollups import memory_of, view_of
from cli.comparison.rows import Rows, compare_rows, doubled_before, offsets_from
from cli.comparison.runs import Runs
from cli.forgetting.marks import KnownMarks
from cli.table_settings import retention
from contracts.tables import (
    TABLE_OF_TOPIC,
    Rollup,
    differing_statement,
    uncounted_statement,
)
from contracts.topics import Topics
from processors.writer.standing import REPAIR
from processors.writer.storage import Storage
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings

_COUNT_AHEAD = """
SELECT count() FROM {table:Identifier}
WHERE kafka_partition = {partition:UInt16} AND last_offset >= {end:UInt64}
"""


@dataclass(frozen=True, slots=True)
class RollupFaults:
    """What is wrong with a rollup of a partition.

    Attributes:
        buckets: the quarters of an hour, in seconds since 1970, that are to be counted again.
        unproven: in how many it counts more than the rows, and Kafka no longer has the records to
            tell which is right; they stay as they are.
        uncounted: how many rows an older bucket does not count yet.
        ahead: how many of its rows say that they count beyond the log's end.
    """

    buckets: tuple[int, ...] = ()
    unproven: int = 0
    uncounted: int = 0
    ahead: int = 0

    def __bool__(self) -> bool:
        """Tell whether anything can be mended."""
        return bool(self.buckets or self.uncounted or self.ahead)


@dataclass(frozen=True, slots=True)
class Finding:
    """A partition, and what is wrong with it.

    Attributes:
        place: where it stands.
        committed: what was found before the committed offset.
        after: what was found from there to the log's end; what lacks there is not wrong by itself.
        beyond: how many rows lie behind the log's end.
        older: offsets that the table has more than once, and Kafka no more.
        rollups: what was found in each rollup, by its name.
        cut_off: whether a repair has begun before and not ended.
    """

    place: Place
    committed: Rows = field(default_factory=Rows)
    after: Rows = field(default_factory=Rows)
    beyond: int = 0
    rollups: Mapping[str, RollupFaults] = field(default_factory=dict)
    older: Runs = field(default_factory=Runs)
    cut_off: bool = False

    @property
    def whole(self) -> bool:
        """Whether the table has dropped no row of the partition: the log has its beginning."""
        expired = self.committed.expired + self.after.expired
        return self.place.standing.log_start == 0 and not expired

    @property
    def received_from(self) -> int | None:
        """When the first record that Kafka still has was received, in ms since 1970."""
        first = self.committed.received_from
        return self.after.received_from if first is None else first

    @property
    def wrong(self) -> list[tuple[int, int]]:
        """The ranges of offsets, within the log, in which rows are to be taken away."""
        return [*self.committed.wrong, *self.after.wrong]

    @property
    def announced_lacks(self) -> bool:
        """Whether the table lacks something of a range that was announced and not committed."""
        lacking = self.after.lacking
        return bool(lacking) and lacking.first <= self.place.announced

    @property
    def is_other_log(self) -> bool:
        """Whether tables or offsets know more than the log has: it was put back to an older state.

        Records to come will have offsets that ClickHouse knows from records that are gone.
        """
        standing = self.place.standing
        known = max((standing.committed or 0) - 1, self.place.announced)
        ahead = any(faults.ahead for faults in self.rollups.values())
        heights = (standing.base, *standing.rollups.values())
        highest = max((height for height in heights if height is not None), default=-1)
        return self.beyond > 0 or ahead or max(known, highest) >= standing.log_end

    @property
    def sentences(self) -> list[str]:
        """What is wrong, one sentence each; none where nothing is."""
        place, base = self.place, self.place.base.name
        said = [fault.removesuffix(f" {REPAIR}")] if (fault := place.fault) else []
        if self.cut_off:
            said.append(f"{place}: an earlier `track repair` was cut off.")
        if self.older:
            said.append(f"{place}: {base} has twice {self.older}.")
        for part in (self.committed, self.after):
            if part.doubled:
                said.append(f"{place}: {base} has twice {part.doubled}.")
            if part.foreign:
                said.append(f"{place}: {base} has other rows than the topic at {part.foreign}.")
            if part.forgotten:
                said.append(
                    f"{place}: {base} has rows of users who are forgotten at {part.forgotten}."
                )
        if self.committed.lacking:
            said.append(f"{place}: {base} lacks {self.committed.lacking}.")
        if self.announced_lacks:
            said.append(
                f"{place}: an insert up to offset {place.announced} was announced, and {base} lacks"
                " some of it."
            )
        if self.beyond:
            end = place.standing.log_end
            rows = counted(self.beyond, "row")
            said.append(f"{place}: {base} has {rows} behind the log's end, {end}.")
        return [*said, *self._of_rollups()]

    @property
    def left(self) -> list[str]:
        """Sentences on what cannot be mended, since Kafka no longer has the records."""
        standing = self.place.standing
        known = -1 if standing.base is None else standing.base
        said = []
        if (self.place.fault or self.committed.lacking) and known + 1 < standing.log_start:
            said.append(
                f"{self.place}: Kafka no longer has the offsets {known + 1} to "
                f"{standing.log_start - 1}; what of them {self.place.base.name} lacks stays lost."
            )
        if not self._has_wrong_rows:
            said += [
                unproven_in(self.place, name, faults)
                for name, faults in self.rollups.items()
                if faults.unproven
            ]
        return said

    @property
    def _has_wrong_rows(self) -> bool:
        return bool(self.wrong or self.committed.lacking or self.beyond or self.older)

    def _of_rollups(self) -> list[str]:
        """Say what differs in the rollups; rows that are wrong explain it, and come first."""
        if self._has_wrong_rows:
            return []
        said = []
        for name, faults in self.rollups.items():
            if faults.buckets:
                quarters = counted(len(faults.buckets), "quarter")
                said.append(f"{self.place}: {name} differs from the rows in {quarters} of an hour.")
            if faults.uncounted:
                rows = counted(faults.uncounted, "row")
                said.append(f"{self.place}: {name} does not count {rows}.")
        return said


def unproven_in(place: Place, rollup: str, faults: RollupFaults) -> str:
    """Return the sentence on what of a rollup is left as it is."""
    return (
        f"{place}: {rollup} counts more than the rows in {counted(faults.unproven, 'quarter')} of "
        "an hour of which Kafka no longer has all records; they stay as they are."
    )


def counted(number: int, what: str) -> str:
    """Return a number of things as a text."""
    return f"{number:,} {what}{'s' * (number != 1)}"


async def find(
    settings: Settings,
    consumer: AIOKafkaConsumer,
    client: AsyncClient,
    storage: Storage,
    known: KnownMarks,
    *,
    run: str,
) -> list[Finding]:
    """Return a finding for every partition of the three topics.

    `known` are the marks of users who are forgotten, `run` has the marks at the offsets, if any.

    Raises:
        StartupError: Kafka has given nothing for a while.
        KafkaError, ClickHouseError: a server does not answer.
    """
    topics = Topics.of(settings.namespace)
    findings = []
    for name, base in TABLE_OF_TOPIC.items():
        for place in await read_places(consumer, storage, settings, getattr(topics, name), base):
            found = await _find_in_rows(settings, consumer, client, place, known)
            rollups = {
                rollup.name: await find_in_rollup(
                    settings,
                    client,
                    place,
                    rollup,
                    whole=found.whole,
                    received_from=found.received_from,
                )
                for rollup in base.rollups
            }
            cut_off = place.mark is not None and (place.mark.cut_off or place.mark.repair != run)
            findings.append(dataclasses.replace(found, rollups=rollups, cut_off=cut_off))
    return findings


async def find_in_rollup(
    settings: Settings,
    client: AsyncClient,
    place: Place,
    rollup: Rollup,
    *,
    whole: bool,
    received_from: int | None,
) -> RollupFaults:
    """Return what is wrong with a rollup of a partition, by the rows that are there now."""
    memory = memory_of(settings, place.base, rollup, whole=whole, received_from=received_from)
    parameters = {"partition": place.where.partition, "since": memory.since}
    buckets = await client.query(
        differing_statement(settings.namespace, place.base, rollup, await view_of(client, rollup)),
        parameters={**parameters, "least": False},
    )
    uncounted = ahead = 0
    if memory.since:
        older = await client.query(
            uncounted_statement(settings.namespace, place.base, rollup),
            parameters={**parameters, "remembered": memory.remembered},
        )
        uncounted = older.first_row[0]
    end = place.standing.log_end
    if (place.standing.rollups[rollup.name] or 0) >= end:
        where = {"partition": place.where.partition, "table": rollup.name, "end": end}
        ahead = (await client.query(_COUNT_AHEAD, parameters=where)).first_row[0]
    differing = [
        (bucket, bucket >= memory.proven or not loses) for bucket, loses in buckets.result_rows
    ]
    return RollupFaults(
        buckets=tuple(bucket for bucket, is_proven in differing if is_proven),
        unproven=sum(not is_proven for _, is_proven in differing),
        uncounted=uncounted,
        ahead=ahead,
    )


async def _find_in_rows(
    settings: Settings,
    consumer: AIOKafkaConsumer,
    client: AsyncClient,
    place: Place,
    known: KnownMarks,
) -> Finding:
    start, end, middle = place.standing.log_start, place.standing.log_end, place.compared_to
    days = retention(settings)[place.base.name].days
    committed, after = [
        await compare_rows(
            consumer,
            client,
            place.base,
            place.where,
            first=first,
            end=last,
            days=days,
            known=known,
        )
        for first, last in ((start, middle), (middle, end))
    ]
    beyond = 0
    if place.standing.base is not None and place.standing.base >= end:
        beyond = len(await offsets_from(client, place.base, place.where, end))
    older = await doubled_before(client, place.base, place.where, start)
    return Finding(place, committed, after, beyond, older=older)
