"""What a command says when it cannot start: one sentence on stderr, and the exit code for it.

In: the refusal of a service or of a command. Out: the end of the process. Never: a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

EXIT_CONFIGURATION = 78  # a new start would not help
EXIT_FAILED = 70  # it may


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal to start into its sentence and the exit code for it."""
    from runtime.startup import StartupError, is_only_away  # noqa: PLC0415 - commands start fast

    try:
        yield
    except StartupError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_FAILED if is_only_away(error) else EXIT_CONFIGURATION)
