"""docs/questions.md: its tables are made from the code.

They are written anew by `python -m tests.query.test_questions_page`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from query.parameters import Parameter
from query.table import ENTRIES

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"
_MARKED = re.compile(r"(<!-- (\w+) -->\n\n).*?(\n<!-- end -->)", re.DOTALL)


def questions() -> str:
    """A line for each question."""
    rows = (
        (f"`GET {each.path}`", each.summary, " ".join(map(_shown, each.parameters)))
        for each in ENTRIES
    )
    return _table(("question", "", "parameters"), rows)


def parameters() -> str:
    """A line for each parameter; of one that differs from question to question one for each."""
    rows = dict.fromkeys(
        (_shown(each), each.about, each.refusal.message)
        for entry in ENTRIES
        for each in entry.parameters
    )
    return _table(("parameter", "", "what is said if it is wrong"), rows)


TABLES = {"questions": questions, "parameters": parameters}


def written() -> str:
    """The page with its tables as the code has them."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", PAGE.read_text())


def test_the_tables_are_those_of_the_code() -> None:
    assert PAGE.read_text() == written()
    assert len(_MARKED.findall(PAGE.read_text())) == len(TABLES)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [" | ".join(each) for each in (heads, ["---"] * 3, *rows)]
    return "".join(f"| {line} |\n" for line in lines)


def _shown(parameter: Parameter) -> str:
    return f"`{parameter.shown}`"


if __name__ == "__main__":
    PAGE.write_text(written())
