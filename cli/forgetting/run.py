"""`track forget`: what is kept of a user is said, and goes, if that is confirmed.

In: settings, a user. Out: what is kept where, what went, what remains; whether the user was known.
Never: a change that was not asked for; the user's id where it would stay.

Read `_do`: what was received by now is processed, then the user is marked, and is forgotten from
then on for everybody who honours marks. Then the writer inserts what was on its way, and the tables
are cleared. A run that is cut off anywhere is finished by the next, which forgets up to its own
moment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import click
import msgspec
from aiokafka import TopicPartition

from cli.fencing import run_fenceable
from cli.forgetting import counts, marking, rows
from cli.forgetting.clearing import clear_tables
from cli.forgetting.counts import UserCounts
from cli.forgetting.kept import Kept, find_kept
from cli.forgetting.marking import mark_user
from cli.forgetting.marks import read_marks
from cli.forgetting.remaining import in_other_logs, read_retention, sentences
from cli.forgetting.rows import USER_COUNTS
from cli.forgetting.waiting import committed_of, wait_for_sessionizers, wait_for_writer
from cli.parquet.forgotten import count_of_other_logs
from cli.rejected.replay import read_marks as read_replays
from cli.rejected.replay import replaying
from cli.rejected.views import escaped, time_text
from cli.repair.findings import counted
from cli.server_failures import told_what_then
from contracts.events import MAX_USER_ID_LENGTH
from contracts.forgetting import Mark, Marks, user_key
from contracts.log import Log
from contracts.tables import REJECTED_EVENTS
from contracts.topics import Partitioner, Topics
from processors.sessionizer.pairing import UserState
from processors.sessionizer.position import user_key as state_key
from runtime.clickhouse import AsyncClient, connect
from runtime.failpoints import failpoint
from runtime.kafka.consumers import read_latest
from runtime.settings import Settings
from runtime.startup import StartupError, require_log

FAILPOINTS = (
    *marking.FAILPOINTS,
    "forget.after_wait",
    *rows.FAILPOINTS,
    *counts.FAILPOINTS,
    "forget.after_tables",
)
"""Where a test kills the command."""

# A mutation rewrites whole parts, however large they are.
_ANSWER_S = 6 * 3600.0
_EVER = 2**63 - 1


def forget(settings: Settings, user_id: str, *, confirmed: bool) -> bool:
    """Say what is kept of a user, and forget it once that was confirmed.

    Returns whether the user was known.

    Raises:
        StartupError: it is no user's id, a server does not answer, a repair or no writer works.
    """
    if not 1 <= len(user_id) <= MAX_USER_ID_LENGTH:
        raise StartupError(
            f"That is nobody's user_id: one has 1 to {MAX_USER_ID_LENGTH} characters."
        )
    with told_what_then("run it again: it goes on where it was."):
        return run_fenceable(_forget(settings, user_id, confirmed=confirmed))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a user.

    Attributes:
        kept: rows, by table.
        plays, stops: how many open plays and waiting stops the processors keep.
        replays: how many marks of replays name the user.
        mark: the mark of an earlier time that the user was forgotten.
        of_other_logs: how many imported rows of other logs are of a user of the same id.
    """

    kept: Kept
    plays: int
    stops: int
    replays: int
    mark: Mark | None
    of_other_logs: int

    def __bool__(self) -> bool:
        """Tell whether anything is."""
        numbers = (self.plays, self.stops, self.replays)
        return bool(self.kept) or any(numbers) or self.mark is not None


async def _forget(settings: Settings, user_id: str, *, confirmed: bool) -> bool:
    log = await require_log(settings)
    client = await connect(settings, timeout_s=_ANSWER_S)
    try:
        known = await _look(settings, log, client, user_id)
        _say_what_is_known(user_id, known)
        if known and confirmed:
            await _do(settings, log, client, user_id)
    finally:
        await client.close()
    if known:
        await _say_what_remains(settings, known, confirmed=confirmed)
    return bool(known)


async def _look(settings: Settings, log: Log, client: AsyncClient, user_id: str) -> Known:
    partition = Partitioner(log.partitions).partition_of(user_id)
    # What a mark of this moment would cover: everything.
    ever = Mark(partition, (_EVER,) * log.partitions, _EVER, 0)
    marks = Marks(log.id, {user_key(log.id, user_id): ever})
    kept = await find_kept(client, settings.namespace, marks, user_id)
    state = await _state_of(settings, partition, user_id)
    earlier = await read_marks(settings, log.id)
    replays = (await read_replays(settings)).values()
    named = sum(each.user_id == user_id for each in replays)
    of_other_logs = await count_of_other_logs(client, log.id, user_id)
    mark = earlier.of(user_id)
    return Known(kept, len(state.plays), len(state.stops), named, mark, of_other_logs)


async def _state_of(settings: Settings, partition: int, user_id: str) -> UserState:
    topic = Topics.of(settings.namespace).state
    value = (await read_latest(settings.kafka_servers, topic, partition)).get(state_key(user_id))
    return UserState() if value is None else msgspec.json.decode(value, type=UserState)


async def _do(settings: Settings, log: Log, client: AsyncClient, user_id: str) -> None:
    await wait_for_sessionizers(settings)
    mark = await mark_user(settings, log, user_id)
    partition, offset = mark.partition, mark.offsets[mark.partition]
    click.echo(
        f"✓ marked: up to offset {offset} of partition {partition}; its sessionizer begins anew, "
        "without open plays of the user"
    )
    await wait_for_writer(settings, partition)
    failpoint("forget.after_wait")
    await _clear_tables(settings, log, client, user_id, mark)
    failpoint("forget.after_tables")
    # A replay that has begun before the mark was written ends here.
    async with replaying(settings) as replay:
        renamed = await replay.forget(user_id)
    click.echo(f"✓ replayed: the user's name taken out of {counted(renamed, 'mark')}")


async def _clear_tables(
    settings: Settings, log: Log, client: AsyncClient, user_id: str, mark: Mark
) -> None:
    marks = Marks(log.id, {user_key(log.id, user_id): mark})
    async for table, gone in clear_tables(client, settings.namespace, marks):
        click.echo(f"✓ {table}: {counted(gone, 'row')} gone")
    accepted = TopicPartition(Topics.of(settings.namespace).accepted, mark.partition)
    user_counts = UserCounts(
        client, log.id, user_id, mark, lambda: committed_of(settings, accepted)
    )
    click.echo(f"✓ {USER_COUNTS}: {counted(await user_counts.forget(), 'row')} gone")


def _say_what_is_known(user_id: str, known: Known) -> None:
    name = escaped(user_id)
    if not known:
        click.echo(
            f"The user {name} is unknown: nothing in the tables or in the processors' state. What "
            "Kafka has and they have not reached yet, they do not know; ask again in a moment."
        )
        if known.of_other_logs:
            click.echo(f"There is something {in_other_logs(known.of_other_logs)}.")
        return
    click.echo(f"The user {name}:")
    if known.mark is not None:
        click.echo(f"  was forgotten before, at {time_text(known.mark.forgotten_at)} (UTC)")
    for table, number in known.kept.numbers.items():
        how = " (by the record's key, or the user_id in its value)" * (
            table == REJECTED_EVENTS.name
        )
        click.echo(f"  {table}: {counted(number, 'row')}{how}")
    plays, stops = counted(known.plays, "open play"), counted(known.stops, "waiting stop")
    click.echo(f"  processors: {plays}, {stops}")
    click.echo(f"  replayed: {counted(known.replays, 'mark')} with the user's name")


async def _say_what_remains(settings: Settings, known: Known, *, confirmed: bool) -> None:
    topics = Topics.of(settings.namespace)
    retention = await read_retention(settings.kafka_servers, topics)
    click.echo("What remains:" if confirmed else "What would remain:")
    now_ms = time.time_ns() // 1_000_000
    for sentence in sentences(retention, known.kept.found.unclear, known.of_other_logs, now_ms):
        click.echo(f"  {sentence}")
    if not confirmed:
        click.echo("Nothing was changed; say --yes to forget the user.")
