"""docs/sql.md: its questions have the answers that stand below them, its tables are what there is.

One stack, filled as the document says, for all of it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pytest

from cli.sql.schema import read_schema
from contracts.tables import BASE_TABLES
from tests.benchmarks.programs import beside_python
from tests.environments import foreign_environment
from tests.sql.asked import Weeks, filled_stack
from tests.sql.documented import PAGE, Asked, limits, questions, tables, with_answers, with_part
from tests.sql.tools import GRAFANA, GRAFANA_SETTINGS, METABASE

TEXT = PAGE.read_text()
QUESTIONS = questions(TEXT)
ROLLUPS = {rollup.name for base in BASE_TABLES for rollup in base.rollups}
PROJECTIONS = {"users_of_days", "days", "users", "by_start"}
# Rollups with a row for each user: only by one of the user's rows, or by a projection.
BY_USER = {"user_counts_15m"}
WRITE_ANEW = "python -m tests.sql.page"

every_question = pytest.mark.parametrize(
    "asked", QUESTIONS, ids=[f"{each.number:02}" for each in QUESTIONS]
)


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weeks]:
    with filled_stack(tmp_path_factory.mktemp("sql")) as filled:
        yield filled


def test_there_are_twenty_five_questions_each_with_an_answer() -> None:
    assert [each.number for each in QUESTIONS] == list(range(1, 26))
    assert all(each.answer for each in QUESTIONS)
    assert len({each.title for each in QUESTIONS}) == 25


@every_question
def test_a_question_has_the_answer_that_stands_below_it(weeks: Weeks, asked: Asked) -> None:
    assert weeks.answer(asked.statement) == asked.answer, WRITE_ANEW


@every_question
def test_the_native_port_answers_the_same(weeks: Weeks, asked: Asked) -> None:
    with weeks.native() as client:
        rows, columns = client.execute(asked.statement, with_column_types=True)
    names = [name for name, _ in columns]
    told = [dict(zip(names, map(_as_json, row), strict=True)) for row in rows]
    assert told == weeks.rows(asked.statement)
    assert told


@every_question
def test_a_question_reads_a_rollup_or_a_range_of_a_key(weeks: Weeks, asked: Asked) -> None:
    plan = [line for (line,) in weeks.client.query(_explain(asked.statement)).result_rows]
    reads = list(_reads(plan))
    assert reads
    for name, condition in reads:
        table = name.rpartition(".")[2]
        by_rollup = table in PROJECTIONS | ROLLUPS - BY_USER
        assert by_rollup or condition not in ("", "true"), (name, condition)


def test_grafana_gets_its_answers_over_the_native_port(weeks: Weeks) -> None:
    with weeks.native() as client:
        for statement in GRAFANA:
            assert client.execute(statement, settings=GRAFANA_SETTINGS), statement


def test_metabase_gets_its_answers_over_http(weeks: Weeks) -> None:
    for statement in METABASE:
        answer = weeks.client.raw_query(statement, fmt="RowBinaryWithNamesAndTypes")
        assert answer, statement


def test_tables_and_limits_are_those_that_there_are(weeks: Weeks) -> None:
    text = with_part(TEXT, "tables", tables(read_schema(weeks.client)))
    assert with_part(text, "limits", limits()) == TEXT, WRITE_ANEW


def test_the_page_is_written_as_it_stands() -> None:
    answers = {each.statement: each.answer for each in QUESTIONS}
    assert with_answers(TEXT, answers.__getitem__) == TEXT


def test_the_command_asks_the_running_stack_as_the_analyst(weeks: Weeks) -> None:
    environment = {**foreign_environment(), "TRACK_HOME": str(weeks.home)}
    done = _track_sql(environment, "SELECT currentUser() AS me, count() AS events FROM events")
    assert done.stdout.split("\n")[1].split() == ["│", "analyst", "│", "16764", "│"]
    refused = _track_sql(environment, "DROP TABLE events")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "The analyst reads this database and changes nothing" in refused.stderr


def test_the_projections_say_what_the_rows_say(weeks: Weeks) -> None:
    """Without them the views add up the rows themselves."""
    for view in ("daily_events", "daily_active_users", "monthly_active_users", "active_users",
                 "users", "weekly_retention", "weekly_new_users"):  # fmt: skip
        statement = f"SELECT * FROM {view} ORDER BY ALL"
        without = f"{statement} SETTINGS optimize_use_projections = 0"
        assert weeks.rows(statement) == weeks.rows(without), view


def _track_sql(environment: dict[str, str], statement: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [beside_python("track"), "sql", statement],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def _explain(statement: str) -> str:
    return f"EXPLAIN indexes = 1, projections = 1 {statement}"


def _reads(plan: list[str]) -> Iterator[tuple[str, str]]:
    """Give what is read, a table or a projection, and the condition on its primary key."""
    text = "\n".join(plan)
    for read in text.split("ReadFromMergeTree (")[1:]:
        key = re.search(r"PrimaryKey\n(?:.*\n)*? *Condition: (.+)", read)
        yield read.partition(")")[0], key[1] if key else ""


def _as_json(value: Any) -> Any:
    """Return a value of the native protocol as ClickHouse writes it in JSON."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if isinstance(value, date):
        return value.isoformat()
    return value
