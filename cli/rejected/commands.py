"""`track rejected`: its subcommands and their options.

In: arguments. Out: one call each. Never: work of its own.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from cli.refusals import refusals
from contracts.events import Reason
from contracts.metadata import JSONError, parse_json
from contracts.replays import Place
from contracts.timestamps import parse_timestamp
from runtime.settings import Settings

if TYPE_CHECKING:
    from cli.rejected.listing import ListFormat, ShowFormat
    from cli.rejected.store import Filters

_TEXT_FIELDS = ("event", "user_id", "timestamp", "event_id")
_FIELDS = (*_TEXT_FIELDS, "metadata")


class _PlaceType(click.ParamType):
    name = "ID"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Place:
        place = value if isinstance(value, Place) else Place.parse(str(value))
        if place is None:
            self.fail(f"{value!r} is no rejection; one is named like events/3/1042.", param, ctx)
        return place


class _MomentType(click.ParamType):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        at = parse_timestamp(f"{value}T00:00:00Z" if len(str(value)) == 10 else str(value))
        if at is None:
            self.fail(f"{value!r} is no time: YYYY-MM-DD or 2025-01-18T14:30:00Z.", param, ctx)
        return at


class _ChangeType(click.ParamType):
    name = "FIELD=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, object]:
        if isinstance(value, tuple):
            return value
        field, equals, text = str(value).partition("=")
        if not equals or field not in _FIELDS:
            self.fail(f"{value!r} sets none of {', '.join(_FIELDS)}.", param, ctx)
        if field in _TEXT_FIELDS:
            return field, text
        try:
            return field, parse_json(text.encode())
        except JSONError as error:
            self.fail(f"metadata {error}; it is an object.", param, ctx)


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which rejections are meant."""
    for option in (
        click.option("--until", type=_MomentType(), help="Received before this (UTC)."),
        click.option("--since", type=_MomentType(), help="Received at this or later (UTC)."),
        click.option("--key", help="The record's key: the user, as most producers do it."),
        click.option("--source", help="Who sent it, as its header `source` says."),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            type=click.Choice([str(each) for each in Reason]),
            metavar="CODE",
            help="Why it was rejected, as `list` shows it; may be given several times.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def rejected() -> None:
    """List, look at, repair and replay the records that were no events."""


@rejected.command("list")
@_filters
@click.option("--not-replayed", is_flag=True, help="Only what has not been replayed.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@click.option("--before", type=_PlaceType(), help="Go on below this one: the next page.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "ndjson"]),
    default="table",
    show_default=True,
)
def list_(
    not_replayed: bool, limit: int, before: Place | None, form: ListFormat, **chosen: Any
) -> None:
    """List rejections, the newest first."""
    from cli.rejected.listing import list_rejections

    with refusals():
        list_rejections(
            _settings(),
            _filters_of(**chosen),
            not_replayed=not_replayed,
            limit=limit,
            before=before,
            form=form,
            width=shutil.get_terminal_size().columns if sys.stdout.isatty() else None,
        )


@rejected.command()
@click.argument("rejection", type=_PlaceType())
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "value"]),
    default="text",
    show_default=True,
    help="`value` gives the very bytes that are kept of its value.",
)
def show(rejection: Place, form: ShowFormat) -> None:
    """Show all of a rejection: why, where from, its bytes, and whether it was replayed."""
    from cli.rejected.listing import show_rejection

    with refusals():
        show_rejection(_settings(), rejection, form)


@rejected.command()
@click.argument("rejections", nargs=-1, type=_PlaceType())
@_filters
@click.option("--all", "everything", is_flag=True, help="All that is kept.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    type=_ChangeType(),
    help="Set a field of POST /track; metadata is JSON. May be given several times.",
)
@click.option(
    "--unset", "removed", multiple=True, type=click.Choice(_FIELDS), help="Remove a field."
)
@click.option(
    "--value", type=click.File("rb"), help="The body of POST /track to send instead; - is stdin."
)
@click.option("--edit", is_flag=True, help="Open it in $EDITOR, and ask before it is sent.")
@click.option("--yes", is_flag=True, help="Send it, instead of saying what would be sent.")
def replay(
    rejections: tuple[Place, ...],
    *,
    everything: bool,
    changes: tuple[tuple[str, object], ...],
    removed: tuple[str, ...],
    value: BinaryIO | None,
    edit: bool,
    yes: bool,
    **chosen: Any,
) -> None:
    """Send rejected records again, repaired or as they are; each is sent once.

    Without --yes it says what each would become. What has been replayed is not sent again. Exit
    code 0 means that each of them is an event of the log now, or would be.
    """
    from cli.rejected.repairs import Repair
    from cli.rejected.sending import Chosen, edit_and_replay, replay_rejections

    filtered = everything or any(each not in (None, ()) for each in chosen.values())
    if bool(rejections) == filtered:
        raise click.UsageError("Name rejections, or say by filters or --all which are meant.")
    if (edit or value is not None) and len(rejections) != 1:
        raise click.UsageError("--value and --edit are for one rejection that is named.")
    if edit and (value is not None or changes or removed):
        raise click.UsageError("--edit goes without --value, --set and --unset.")
    filters = _filters_of(**chosen) if filtered else None
    with refusals():
        settings = _settings()
        if edit:
            done = edit_and_replay(settings, rejections[0], yes=yes)
        else:
            body = None if value is None else value.read()
            repair = Repair(value=body, changes=dict(changes), removed=frozenset(removed))
            done = replay_rejections(settings, Chosen(rejections, filters), repair, yes=yes)
    sys.exit(0 if done else 1)


def _settings() -> Settings:
    from cli.addresses import with_stack

    return with_stack(Settings.from_environment(os.environ))


def _filters_of(reasons: tuple[str, ...], **chosen: Any) -> Filters:
    from cli.rejected.store import Filters

    return Filters(reasons=[Reason(each) for each in reasons], **chosen)
