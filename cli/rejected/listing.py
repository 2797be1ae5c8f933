"""`track rejected list` and `show`: what is kept of rejected records, and what became of them.

In: settings, and which are meant. Out: text on stdout. Never: a change.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import click
import msgspec

from cli.rejected.opened import find_with_marks, open_rejections, require
from cli.rejected.rejection import Rejection
from cli.rejected.replay import read_marks
from cli.rejected.store import Filters
from cli.rejected.views import as_object, description, table
from contracts.replays import Mark, Place
from runtime.settings import Settings

ListFormat = Literal["table", "json", "ndjson"]
ShowFormat = Literal["text", "json", "value"]


def list_rejections(
    settings: Settings,
    filters: Filters,
    *,
    not_replayed: bool,
    limit: int,
    before: Place | None,
    form: ListFormat,
    width: int | None,
) -> None:
    """Print rejections, the newest first.

    Raises:
        StartupError: a server does not answer, or `before` is not kept.
    """
    rows = asyncio.run(_list(settings, filters, not_replayed, limit, before))
    shown = rows[:limit]
    objects = [as_object(each, marks, whole=False) for each, marks in shown]
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(objects)))
    elif form == "ndjson":
        for each in objects:
            click.echo(msgspec.json.encode(each))
    elif not shown:
        click.echo("No such rejection is kept.")
    else:
        for line in table(shown, width):
            click.echo(line)
        if len(rows) > limit:
            click.echo(f"There are more; go on with --before {shown[-1][0].place}")


def show_rejection(settings: Settings, place: Place, form: ShowFormat) -> None:
    """Print all of a rejection; as `value` the very bytes that are kept of its value.

    Raises:
        StartupError: a server does not answer, or it is not kept.
    """
    rejection, marks = asyncio.run(find_with_marks(settings, place))
    mark = marks.get(str(place))
    if form == "value":
        click.echo(rejection.value or b"", nl=False)
    elif form == "json":
        shown = msgspec.json.encode(as_object(rejection, mark, whole=True))
        click.echo(msgspec.json.format(shown))
    else:
        for line in description(rejection, mark):
            click.echo(line)


async def _list(
    settings: Settings, filters: Filters, not_replayed: bool, limit: int, before: Place | None
) -> list[tuple[Rejection, Mark | None]]:
    async with open_rejections(settings) as rejections:
        marks = await read_marks(settings)
        start = None if before is None else await require(rejections, before)
        rows = []
        async for each in rejections.newest_first(filters, start):
            mark = marks.get(str(each.place))
            if mark is None or not not_replayed:
                rows.append((each, mark))
            if len(rows) > limit:
                break
        return rows
