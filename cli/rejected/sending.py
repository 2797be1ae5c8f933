"""`track rejected replay`: what each record becomes is said, and sent if that is confirmed.

In: settings, which rejections are meant, a repair. Out: a line for each on stdout; whether each is
an event of the log now, or would be. Never: something sent that was not confirmed; a dry run that
fences a replay.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import click

from cli.fencing import run_fenceable
from cli.forgetting.marks import read_marks as read_forgotten
from cli.forgetting.rejections import are_covered
from cli.rejected.opened import NOT_KEPT, find_with_marks, open_rejections
from cli.rejected.rejection import Rejection
from cli.rejected.repairs import Repair, draft, prepare
from cli.rejected.replay import Ready, read_marks, replaying
from cli.rejected.store import Filters, Rejections
from cli.rejected.views import became, escaped
from contracts.forgetting import Marks as Forgotten
from contracts.log import Log
from contracts.replays import Mark, Place
from contracts.topics import Partitioner
from runtime.settings import Settings
from runtime.startup import require_log

_IN_A_TRANSACTION = 500


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rejections are meant: those of these places, or all that the filters let through."""

    places: Sequence[Place] = ()
    filters: Filters | None = None


def replay_rejections(settings: Settings, chosen: Chosen, repair: Repair, *, yes: bool) -> bool:
    """Send what is meant, if it is confirmed, else say what would be sent; a line for each.

    Returns whether each of them is an event of the log now, or would be.

    Raises:
        StartupError: a server does not answer, or another replay began meanwhile.
    """
    found = run_fenceable(_replay(settings, chosen, repair, yes=yes))
    click.echo(_summary(found, yes=yes))
    return not found[str.__name__]


def edit_and_replay(settings: Settings, place: Place, *, yes: bool) -> bool:
    """Open a rejection in an editor, and send what was saved, once it is confirmed.

    Raises:
        StartupError: as for `replay_rejections`, or the rejection is not kept.
    """
    rejection, _ = asyncio.run(find_with_marks(settings, place))
    text = click.edit(draft(rejection), extension=".json")
    if text is None:
        click.echo("Nothing was changed, and nothing was sent.")
        return False
    chosen, repair = Chosen(places=[place]), Repair(value=text.encode())
    if yes:
        return replay_rejections(settings, chosen, repair, yes=True)
    would_be = replay_rejections(settings, chosen, repair, yes=False)
    if would_be and click.confirm("Send it?"):
        return replay_rejections(settings, chosen, repair, yes=True)
    return False


async def _replay(settings: Settings, chosen: Chosen, repair: Repair, *, yes: bool) -> Counter[str]:
    log = await require_log(settings)
    found: Counter[str] = Counter()
    async with open_rejections(settings) as rejections:
        if not yes:
            marks, judge = await read_marks(settings), await _judge(settings, repair, log)
            async for page in _pages(rejections, chosen):
                outcomes = [judge.decide(*each, marks) for each in page]
                _say(outcomes, "would be", found, chosen)
            return found
        async with replaying(settings) as replay:
            judge = await _judge(settings, repair, log)
            async for page in _pages(rejections, chosen):
                outcomes = [judge.decide(*each, replay.marks) for each in page]
                await replay.send([each for _, each in outcomes if isinstance(each, Ready)])
                _say(outcomes, "is now", found, chosen)
    return found


async def _pages(
    rejections: Rejections, chosen: Chosen
) -> AsyncIterator[list[tuple[Place, Rejection | None]]]:
    """Give what is meant in order of arrival, so that sessions are paired as they would have been.

    Of a place that is named, None where nothing is kept.
    """
    if chosen.filters is not None:
        async for page in rejections.oldest_first(chosen.filters):
            yield [(each.place, each) for each in page]
        return
    named = [(place, await rejections.find(place)) for place in dict.fromkeys(chosen.places)]
    named.sort(key=lambda each: each[1].received_at if each[1] else 0)
    for start in range(0, len(named), _IN_A_TRANSACTION):
        yield named[start : start + _IN_A_TRANSACTION]


@dataclass(frozen=True, slots=True)
class _Judge:
    """Decides what becomes of a rejection: it is sent, it was, or why it cannot be."""

    repair: Repair
    partitioner: Partitioner
    forgotten: Forgotten

    def decide(
        self, place: Place, rejection: Rejection | None, marks: Mapping[str, Mark]
    ) -> _Outcome:
        mark = marks.get(str(place))
        if mark is not None:
            return place, mark
        if rejection is None:
            return place, NOT_KEPT
        event = prepare(rejection, self.repair, self.forgotten.log_id)
        if isinstance(event, str):
            return place, f"stays as it is: {event}"
        if self._is_forgotten(rejection, event.user_id):
            return place, "stays as it is: its user is forgotten"
        partition = self.partitioner.partition_of(event.user_id)
        return place, Ready(rejection, event, partition)

    def _is_forgotten(self, rejection: Rejection, user_id: str) -> bool:
        """Tell whether it names, or would now name, somebody who is forgotten as far as it goes."""
        place = rejection.place
        return are_covered(self.forgotten, rejection) or self.forgotten.cover(
            user_id, place.partition, place.offset
        )


async def _judge(settings: Settings, repair: Repair, log: Log) -> _Judge:
    forgotten = await read_forgotten(settings, log.id)
    return _Judge(repair, Partitioner(settings.partitions), forgotten)


_Outcome = tuple[Place, Ready | Mark | str]


def _say(outcomes: Sequence[_Outcome], becomes: str, found: Counter[str], chosen: Chosen) -> None:
    """Count, and print what became of each, or would; what has a mark only if it was named."""
    for place, outcome in outcomes:
        found[type(outcome).__name__] += 1
        if isinstance(outcome, Ready):
            event = outcome.event
            text = (
                f"{becomes} {event.event} of {event.user_id} at {event.timestamp}, "
                f"event_id {event.event_id}"
            )
        elif isinstance(outcome, Mark):
            if chosen.filters is not None:
                continue
            text = f"was replayed already, {became(outcome)}"
        else:
            text = outcome
        click.echo(f"{place}  {escaped(text)}")


def _summary(found: Counter[str], *, yes: bool) -> str:
    if not found:
        return "No such rejection is kept."
    sent, already, unfit = (found[each.__name__] for each in (Ready, Mark, str))
    rest = f"{already:,} replayed already, {unfit:,} not to be sent"
    if yes:
        return f"{sent:,} sent, {rest}."
    return f"{sent:,} could be sent, {rest}. Nothing was sent" + (
        "; say --yes to do it." if sent else "."
    )
