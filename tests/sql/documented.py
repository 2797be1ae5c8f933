"""What docs/sql.md says: its questions with their answers, and its generated tables.

In: the document. Out: questions as they stand there, and the document with other answers and
tables. Never: an answer made up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cli.sql.schema import Relation
from runtime.settings import ANALYST_LIMITS, Settings
from tests.benchmarks.programs import ROOT

PAGE = ROOT / "docs" / "sql.md"
_QUESTION = re.compile(
    r"^### (?P<number>\d+)\. (?P<title>.+)\n(?P<words>(?:(?!```).*\n)*)"
    r"```sql\n(?P<statement>[\s\S]*?)\n```\n(?:\n```text\n(?P<answer>[\s\S]*?)```\n)?",
    re.MULTILINE,
)
# What ClickHouse says when a question goes over the limit of a setting.
SAYS: Mapping[str, str] = {
    "analyst_seconds": "TIMEOUT_EXCEEDED",
    "analyst_memory_bytes": "MEMORY_LIMIT_EXCEEDED",
    "analyst_rows_read": "TOO_MANY_ROWS",
    "analyst_rows": "TOO_MANY_ROWS_OR_BYTES",
    "analyst_threads": "",
    "analyst_questions": "TOO_MANY_SIMULTANEOUS_QUERIES",
    "analyst_hour_seconds": "QUOTA_EXCEEDED",
    "analyst_hour_questions": "QUOTA_EXCEEDED",
    "analyst_hour_rows": "QUOTA_EXCEEDED",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the document: its number and title, its statement, the answer below it."""

    number: int
    title: str
    statement: str
    answer: str


def questions(text: str) -> list[Asked]:
    """Return the document's questions."""
    return [
        Asked(int(each["number"]), each["title"], each["statement"], each["answer"] or "")
        for each in _QUESTION.finditer(text)
    ]


def with_answers(text: str, answer: Callable[[str], str]) -> str:
    """Return the document with what `answer` says to each statement."""

    def written(each: re.Match[str]) -> str:
        head = f"### {each['number']}. {each['title']}\n{each['words']}"
        said = answer(each["statement"])
        return f"{head}```sql\n{each['statement']}\n```\n\n```text\n{said}```\n"

    return _QUESTION.sub(written, text)


def with_part(text: str, name: str, lines: Iterable[str]) -> str:
    """Return the document with other lines between the two comments of a name."""
    part = re.compile(f"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
    made = "".join(f"{line}\n" for line in lines)
    return part.sub(lambda _: made, text)


def tables(schema: Iterable[Relation]) -> Iterable[str]:
    """Give the lines that describe tables and views, the views first."""
    for each in sorted(schema, key=lambda relation: not relation.is_view):
        kind = "view" if each.is_view else "table"
        yield from ("", f"### {each.name}", "", f"{kind.capitalize()}. {each.comment}", "")
        yield "| column | type | |"
        yield "|---|---|---|"
        for column in each.columns:
            yield f"| `{column.name}` | `{column.type}` | {column.comment} |"
    yield ""


def limits() -> Iterable[str]:
    """Give the lines of the table of limits."""
    about = {each.name: each.metadata for each in Settings.__dataclass_fields__.values()}
    yield "| setting | default | | over it |"
    yield "|---|---|---|---|"
    for name in ANALYST_LIMITS:
        said = f"`{SAYS[name]}`" if SAYS[name] else "a higher `max_threads` is refused"
        default = f"{getattr(Settings(), name):,}"
        yield f"| `{about[name]['name']}` | {default} | {about[name]['about']} | {said} |"
