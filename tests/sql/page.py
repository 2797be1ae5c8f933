"""The generated parts of docs/sql.md: tables from the migrations, limits, real answers.

    python -m tests.sql.page

In: a stack of its own, filled by `track demo --weeks`. Out: docs/sql.md written anew. Never: a
number that was not asked.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cli.sql.schema import read_schema
from tests.sql.asked import filled_stack
from tests.sql.documented import PAGE, limits, tables, with_answers, with_part


def main() -> None:
    """Ask, and write."""
    folder = Path(tempfile.mkdtemp(prefix="track-sql-"))
    try:
        with filled_stack(folder) as weeks:
            text = with_part(PAGE.read_text(), "tables", tables(read_schema(weeks.client)))
            text = with_part(text, "limits", limits())
            PAGE.write_text(with_answers(text, weeks.answer))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
