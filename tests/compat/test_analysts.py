"""The programs of docs/sql.md, with the packages that analysts use, on the five weeks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.benchmarks.programs import beside_python
from tests.compat.installed import python_with
from tests.environments import foreign_environment
from tests.sql.asked import Weeks, filled_stack
from tests.sql.documented import PAGE

_OTHERS = PAGE.read_text().partition("## Other programs")[2]
_PROGRAM = re.compile(
    r"^### (?P<name>.+)\n(?P<words>(?:(?!###|```python).*\n)*)"
    r"```python\n(?P<program>[\s\S]*?)```\n\n```text\n(?P<answer>[\s\S]*?)```",
    re.MULTILINE,
)
_COMMAND = re.compile(r"^\$ \.venv/bin/track (.+)$", re.MULTILINE)
PROGRAMS = list(_PROGRAM.finditer(_OTHERS))


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weeks]:
    with filled_stack(tmp_path_factory.mktemp("analysts")) as filled:
        yield filled


@pytest.fixture(scope="module")
def python() -> str:
    return python_with("analysts")


def test_the_page_has_a_program_for_each() -> None:
    names = [each["name"] for each in PROGRAMS]
    assert names == [
        "clickhouse-connect", "clickhouse-driver", "SQLAlchemy", "pandas", "Polars", "DuckDB",
    ]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=[each["name"] for each in PROGRAMS])
def test_a_program_prints_what_stands_below_it(
    weeks: Weeks, python: str, program: re.Match[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("program")
    for command in _COMMAND.findall(program["words"]):
        subprocess.run(
            ["bash", "-c", f"{beside_python('track')} {command}"],
            env={**foreign_environment(), "TRACK_HOME": str(weeks.home)},
            cwd=folder, timeout=60, check=True,
        )  # fmt: skip
    done = subprocess.run(
        [python, "-W", "ignore::DeprecationWarning", "-c", _here(program["program"], weeks)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == (program["answer"], 0), done.stderr


def test_the_analyst_cannot_write_through_them(weeks: Weeks, python: str) -> None:
    program = next(each["program"] for each in PROGRAMS if each["name"] == "SQLAlchemy")
    writes = f"{program}\n    connection.exec_driver_sql('DROP TABLE events')\n"
    done = subprocess.run(
        [python, "-c", _here(writes, weeks)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ACCESS_DENIED" in done.stderr or "READONLY" in done.stderr
    assert weeks.rows("SELECT count() AS n FROM events") == [{"n": 16764}]


def _here(program: str, weeks: Weeks) -> str:
    """Put the ports and the password of this stack in the places of the usual ones."""
    url = urlsplit(weeks.settings.clickhouse)
    return (
        program.replace("PASSWORD", url.password or "")
        .replace("8123", str(url.port))
        .replace("9000", str(weeks.native_port))
    )
