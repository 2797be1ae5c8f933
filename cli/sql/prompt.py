"""The prompt of `track sql`: statements are typed, answers are shown, until Ctrl-D.

In: a client, keys. Out: answers, each with its time; a history in the stack's folder. Never: the
end of the prompt because of a statement, refused or interrupted.

A statement goes over as many lines as it needs and ends with a semicolon. Tab completes names of
tables and columns, and words of SQL. Ctrl-C gives up what is typed, or what is being answered.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from cli.sql.answers import Format, write_answer
from cli.sql.refused import explain
from cli.sql.schema import Relation, read_schema
from cli.sql.statements import split_statements
from runtime.clickhouse import ClickHouseError, Client
from runtime.settings import Settings

_LEAVE = frozenset(("exit", "quit", "\\q"))
_HELP = frozenset(("help", "\\?", "?", "\\d"))
_WORDS = (
    "SELECT FROM WHERE AND OR NOT IN BETWEEN LIKE ILIKE IS NULL GROUP BY ORDER BY HAVING LIMIT AS "
    "DESC ASC WITH JOIN LEFT INNER USING ON ARRAY DISTINCT UNION ALL CASE WHEN THEN ELSE END "
    "INTERVAL DAY HOUR MINUTE WEEK MONTH OVER PARTITION FORMAT SETTINGS EXPLAIN DESCRIBE TABLE "
    "SHOW TABLES count sum avg min max uniq uniqExact quantile quantileExact countIf sumIf "
    "toDate toHour toStartOfHour toStartOfWeek toStartOfMonth toDayOfWeek now today dateDiff "
    "windowFunnel retention groupArray arrayJoin lagInFrame topK"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_HISTORY = "sql_history"


def run_prompt(client: Client, settings: Settings, form: Format) -> int:
    """Show what can be asked, and answer until the end of input; return the exit code."""
    # Ctrl-C at a terminal is meant for us, also where whoever started us ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    schema = read_schema(client)
    click.echo("\n".join(_welcome(schema, settings.namespace)))
    session = _session(schema, settings.home / _HISTORY)
    while True:
        try:
            text = session.prompt(f"{settings.namespace}> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return 0
        if _word(text) in _LEAVE:
            return 0
        if _word(text) in _HELP:
            click.echo("\n".join(_welcome(schema, settings.namespace)))
            continue
        for statement in split_statements(text)[0]:
            if not _answer(client, statement, form):
                break


def _session(schema: Iterable[Relation], history: Path) -> PromptSession[str]:
    history.parent.mkdir(parents=True, exist_ok=True)
    history.touch(mode=0o600)  # what is asked names users
    return PromptSession(
        history=FileHistory(str(history)),
        completer=WordCompleter(sorted(_names(schema)), ignore_case=True, pattern=_NAME),
        complete_while_typing=False,
        lexer=PygmentsLexer(SqlLexer),
        multiline=Condition(lambda: not _is_complete(get_app().current_buffer.text)),
        prompt_continuation="... ",
    )


def _names(schema: Iterable[Relation]) -> set[str]:
    columns = {column.name for relation in schema for column in relation.columns}
    return columns | {relation.name for relation in schema} | set(_WORDS.split())


def _is_complete(text: str) -> bool:
    """Tell whether Enter ends what was typed, rather than the line."""
    if not text.strip() or _word(text) in _LEAVE | _HELP:
        return True
    statements, rest = split_statements(text)
    return bool(statements) and not rest


def _word(text: str) -> str:
    return text.strip().rstrip(";").strip().lower()


def _answer(client: Client, statement: str, form: Format) -> bool:
    """Ask, and show the answer with its time; tell whether there was one."""
    began = time.monotonic()
    try:
        write_answer(client, statement, form, sys.stdout.buffer, to_terminal=sys.stdout.isatty())
    except ClickHouseError as error:
        click.secho(explain(error), fg="red", err=True)
        return False
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        return False
    click.secho(f"{time.monotonic() - began:.2f} s", dim=True)
    return True


def _welcome(schema: Iterable[Relation], database: str) -> Iterator[str]:
    """Give the lines that say what can be asked, and how."""
    relations = list(schema)
    width = max((len(each.name) for each in relations), default=0)
    for title, views in (("Tables", False), ("Views", True)):
        yield f"{title} of {database}:"
        for each in relations:
            if each.is_view == views:
                yield f"  {each.name.ljust(width)}  {each.comment.partition('. ')[0].rstrip('.')}"
    yield "A statement ends with a semicolon: SELECT * FROM daily_active_users;"
    yield "Tab completes names, DESCRIBE TABLE events; lists columns, help shows this, Ctrl-D ends."
