"""`track sql`: whom it asks, with which statements, and what the exit code is.

In: settings, statements of the command line or of stdin, a format. Out: answers on stdout; exit
code 0, or 1 for a refused statement, 70 where no server answers and 78 where it does not let us in,
with one sentence on stderr.
Never: a statement asked after one that was refused; a password on the screen.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Mapping

import click
from clickhouse_connect import common

from cli.addresses import find_stack
from cli.refusals import EXIT_CONFIGURATION, EXIT_FAILED
from cli.sql.answers import Format, write_answer
from cli.sql.refused import explain, is_refusal
from cli.sql.statements import all_statements
from runtime.clickhouse import ClickHouseError, Client, connect_sync
from runtime.settings import Settings

EXIT_REFUSED = 1
# The limit on a question's time is ClickHouse's; this is for a server that says nothing any more.
_SPARE_S = 30


class NobodyToAskError(Exception):
    """There is no ClickHouse to ask; the message says what to do."""


def as_analyst(settings: Settings) -> Settings:
    """Return the settings with the URL of who asks.

    A ClickHouse that TRACK_CLICKHOUSE names goes before the running stack's; its user asks then.

    Raises:
        NobodyToAskError: none is named, and no stack runs in the folder.
    """
    if settings.clickhouse:
        return settings
    stack = find_stack(settings.home)
    if stack is None:
        raise NobodyToAskError(
            f"No stack runs in {settings.home}. Start one (make run), or name a ClickHouse with "
            "TRACK_CLICKHOUSE."
        )
    return dataclasses.replace(
        settings, clickhouse=stack.analyst or stack.clickhouse, namespace=stack.namespace
    )


def run_sql(
    settings: Settings, statement: str | None, form: Format, parameters: Mapping[str, str]
) -> int:
    """Ask the statement, or those of stdin, or open the prompt; return the exit code.

    Args:
        settings: where the stack is.
        statement: what is asked; None: the prompt on a terminal, else what stdin holds.
        form: how answers are written.
        parameters: what `{name:Type}` stands for.
    """
    # A sentence of ClickHouse's is cut off by our own rules, not in the middle.
    common.set_setting("max_error_size", 0)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        asking = as_analyst(settings)
        client = connect_sync(asking, timeout_s=asking.analyst_seconds + _SPARE_S)
    except NobodyToAskError as error:
        return _refuse(str(error), EXIT_FAILED)
    except ClickHouseError as error:
        return _refuse(explain(error), EXIT_CONFIGURATION if is_refusal(error) else EXIT_FAILED)
    try:
        if statement is None and sys.stdin.isatty():
            from cli.sql.prompt import run_prompt  # noqa: PLC0415 - an answer needs none of it

            return run_prompt(client, asking, form)
        text = sys.stdin.read() if statement is None else statement
        return _ask_all(client, text, form, parameters)
    finally:
        client.close()


def _ask_all(client: Client, text: str, form: Format, parameters: Mapping[str, str]) -> int:
    statements = all_statements(text)
    if not statements:
        return _refuse("There is no statement to ask.", EXIT_REFUSED)
    to_terminal = sys.stdout.isatty()
    if form is Format.PARQUET and to_terminal:
        return _refuse("Parquet is not for a terminal: write it to a file with >.", EXIT_REFUSED)
    if form is Format.PARQUET and len(statements) > 1:
        return _refuse("A Parquet file holds one answer; ask one statement.", EXIT_REFUSED)
    for statement in statements:
        try:
            write_answer(
                client,
                statement,
                form,
                sys.stdout.buffer,
                parameters=parameters,
                to_terminal=to_terminal,
            )
        except ClickHouseError as error:
            return _refuse(explain(error), EXIT_REFUSED if is_refusal(error) else EXIT_FAILED)
    return 0


def _refuse(sentence: str, code: int) -> int:
    click.echo(sentence, err=True)
    return code
