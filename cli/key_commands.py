"""`track keys`: its subcommands and their options.

In: arguments. Out: one call of `cli.keys` each, and its refusal as one sentence. Never: work of its
own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from cli.keys import add_key, list_keys, revoke_key
from runtime.access.keys import KeysError, Scope
from runtime.settings import Settings


@click.group()
def keys() -> None:
    """Make, list and revoke the keys that callers show.

    They are kept, as hashes, in the file that TRACK_KEYS names, else in keys in TRACK_HOME.
    Services that run notice a change within a second. Where there is no such file, no key is asked
    for.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([each.value for each in Scope]),
    multiple=True,
    required=True,
    help="What it is good for: sending (write), asking (read); may be given twice.",
)
def new(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and show it, this once."""
    with _file() as path:
        is_first = not path.exists()
        click.echo(add_key(path, name, [Scope(each) for each in scopes], datetime.now(UTC)))
        click.echo(f"This is shown once; {path} keeps its hash.", err=True)
        if is_first:
            click.echo("From now on services that read this file ask for a key.", err=True)


@keys.command("list")
def show() -> None:
    """List the keys: name, scopes, when they were made."""
    with _file() as path:
        for line in list_keys(path):
            click.echo(line)


@keys.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a key; whoever shows it is refused."""
    with _file() as path:
        revoke_key(path, name)


@contextmanager
def _file() -> Iterator[Path]:
    """Give the path of the file of keys; a refusal becomes its sentence and exit code 1."""
    path = Settings.from_environment(os.environ).keys_file
    try:
        yield path
    except KeysError as error:
        click.echo(f"The keys in {path}: {error}.", err=True)
        sys.exit(1)
