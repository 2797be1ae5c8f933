"""`track repair`: what `track verify` finds, and what the writer refuses to begin with, is mended.

In: settings. Out: what is wrong and what would be done about it; with `--yes` it is done, a line
for each step, and `verify` has the last word. Never: a change that was not asked for; a row of an
offset that Kafka no longer has; a change while a writer works.

Read `_repair`: the group is kept from writers by marks, partitions are looked at, a plan is made of
what was found (`cli/repair/plan.py`), its steps are done one after the other, and last of all the
offsets are set. A run that is cut off anywhere is finished by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import assert_never

import click
from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.forgetting.kept import Kept, find_kept
from cli.forgetting.marks import KnownMarks, read_marks
from cli.repair.findings import Finding, find
from cli.repair.guard import Guard
from cli.repair.plan import (
    ForgetTokens,
    ForgetUsers,
    InsertRows,
    KeepOne,
    MendRollup,
    RemoveRows,
    SetOffset,
    Step,
    plan,
)
from cli.repair.rollups import RollupMender
from cli.repair.rows import RowMender
from cli.server_failures import told_what_then
from cli.verify import print_verdict
from processors.writer.standing import FaultError
from processors.writer.storage import Storage
from runtime.clickhouse import AsyncClient, connect
from runtime.failpoints import failpoint
from runtime.kafka.admin import open_admin
from runtime.kafka.consumers import open_consumer
from runtime.settings import Settings
from runtime.startup import StartupError, require_log

FAILPOINTS = (
    "after_mark",
    "before_exchange",
    "after_exchange",
    "after_remove",
    "after_put_aside",
    "after_taken_out",
    "after_aside",
    "after_gone",
    "after_forgotten",
    "after_twin",
    "after_attach",
    "after_empty",
    "after_refill",
    "after_add",
    "before_offsets",
    "after_offsets",
)
"""Where a test kills a repair."""

# A mutation rewrites whole parts, however large they are.
_ANSWER_S = 6 * 3600.0


def repair(settings: Settings, *, confirmed: bool) -> bool:
    """Say what is wrong and mend it, once that was confirmed; return whether all is well.

    Raises:
        StartupError: a writer works, a server does not answer, or a row is refused for no reason.
    """
    try:
        with told_what_then("run it again: it goes on where it was."):
            return asyncio.run(_repair(settings, confirmed=confirmed))
    except FaultError as error:
        raise StartupError(str(error)) from error


async def _repair(settings: Settings, *, confirmed: bool) -> bool:
    log = await require_log(settings)
    async with (
        open_admin(settings.kafka_servers) as admin,
        _servers(settings) as (client, storage, consumer),
    ):
        guard = Guard(settings, client, admin)
        known = KnownMarks(settings, await read_marks(settings, log.id))
        rows = RowMender(settings, client, storage, consumer, guard, known=known)
        await guard.require_no_writer()
        if confirmed:
            await guard.begin()
            failpoint("after_mark")
            await rows.take_up()
        findings = await find(settings, consumer, client, storage, known, run=guard.run)
        kept = await find_kept(client, settings.namespace, known.marks) if known.marks else None
        steps = plan(findings, forgotten_are_kept=bool(kept))
        _say_what_is_wrong(findings, kept)
        if not confirmed:
            _say_what_would_be_done(steps)
            return not steps
        await _do(steps, guard, rows, RollupMender(settings, client, guard))
    return await print_verdict(settings)


async def _do(steps: Sequence[Step], guard: Guard, rows: RowMender, rollups: RollupMender) -> None:
    offsets: dict[TopicPartition, int] = {}
    for step in steps:
        if isinstance(step, SetOffset):
            offsets[step.place.where] = step.place.standing.log_end
            continue
        await guard.require_alone()
        for line in await _do_step(step, rows, rollups):
            click.echo(line)
    failpoint("before_offsets")
    await guard.end(offsets)
    failpoint("after_offsets")
    for where, offset in offsets.items():
        click.echo(f"✓ {where.topic}/{where.partition}: the writer goes on from offset {offset}")


async def _do_step(
    step: ForgetTokens | RemoveRows | KeepOne | InsertRows | ForgetUsers | MendRollup,
    rows: RowMender,
    rollups: RollupMender,
) -> list[str]:
    """Do a step; return what was done, line by line."""
    match step:
        case ForgetTokens():
            return [f"✓ {await rows.forget_tokens(step)}"]
        case RemoveRows():
            return [f"✓ {await rows.remove(step)}"]
        case KeepOne():
            return [f"✓ {await rows.keep_one(step)}"]
        case InsertRows():
            return [f"✓ {await rows.insert(step)}"]
        case ForgetUsers():
            return [f"✓ {line}" for line in await rows.forget_users()]
        case MendRollup():
            return await rollups.mend(step)
    assert_never(step)


def _say_what_is_wrong(findings: Sequence[Finding], kept: Kept | None) -> None:
    for sentence in kept.sentences if kept else ():
        click.echo(f"✗ {sentence}")
    for finding in findings:
        for sentence in finding.sentences:
            click.echo(f"✗ {sentence}")
        for sentence in finding.left:
            click.echo(f"! {sentence}")


def _say_what_would_be_done(steps: Sequence[Step]) -> None:
    if not steps:
        click.echo("✓ Nothing is to be mended.")
        return
    click.echo("\nIt would")
    for step in steps:
        click.echo(f"  {step}")
    click.echo("Nothing was changed; say --yes to do it.")


@asynccontextmanager
async def _servers(
    settings: Settings,
) -> AsyncIterator[tuple[AsyncClient, Storage, AIOKafkaConsumer]]:
    client, storage = await connect(settings, timeout_s=_ANSWER_S), Storage(settings)
    try:
        async with open_consumer(settings.kafka_servers) as consumer:
            yield client, storage, consumer
    finally:
        storage.close()
        await client.close()
