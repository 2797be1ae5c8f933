"""Where statements end: a semicolon in a text, a name or a comment is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.sql.statements import all_statements, says_something, split_statements


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("", [], ""),
        ("  \n ", [], ""),
        (";", [], ""),
        (";;", [], ""),
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT 1;", ["SELECT 1"], ""),
        ("SELECT 1; SELECT 2", ["SELECT 1"], "SELECT 2"),
        ("SELECT 1;\n\nSELECT 2;\n", ["SELECT 1", "SELECT 2"], ""),
        ("SELECT ';' AS a;", ["SELECT ';' AS a"], ""),
        ("SELECT 'it''s;' ;", ["SELECT 'it''s;'"], ""),
        (r"SELECT 'a\';' ;", [r"SELECT 'a\';'"], ""),
        (r"SELECT 'a\\'; SELECT 2", [r"SELECT 'a\\'"], "SELECT 2"),
        ('SELECT 1 AS ";" ;', ['SELECT 1 AS ";"'], ""),
        ("SELECT 1 AS `;` ;", ["SELECT 1 AS `;`"], ""),
        ("SELECT 1 -- ; not yet\n;", ["SELECT 1 -- ; not yet"], ""),
        ("SELECT 1 /* ; \n ; */ ;", ["SELECT 1 /* ; \n ; */"], ""),
        ("SELECT $a$ ; ' $a$ ;", ["SELECT $a$ ; ' $a$"], ""),
        ("SELECT $$;$$;", ["SELECT $$;$$"], ""),
        ("SELECT 'open;", [], "SELECT 'open;"),
        ("SELECT /* open;", [], "SELECT /* open;"),
        ("SELECT 1; -- the end", ["SELECT 1"], "-- the end"),
    ],
)
def test_statements_end_where_a_semicolon_ends_them(
    text: str, statements: list[str], rest: str
) -> None:
    assert split_statements(text) == (statements, rest)


def test_the_last_statement_needs_no_semicolon() -> None:
    assert all_statements("SELECT 1; SELECT 2 -- two") == ["SELECT 1", "SELECT 2 -- two"]
    assert all_statements("SELECT 1; -- nothing more") == ["SELECT 1"]


@given(st.text(alphabet="ab;'\"`\\-/*$ \n", max_size=60))
def test_nothing_is_lost_and_nothing_made_up(text: str) -> None:
    statements, rest = split_statements(text)
    kept = "".join(statements) + rest
    assert [each for each in kept if each in "ab"] <= [each for each in text if each in "ab"]
    assert all(says_something(each) for each in statements)
    at = 0
    for each in (*statements, rest):
        at = text.index(each, at) + len(each)


@given(st.lists(st.from_regex(r"[a-z]{1,5}( '[a-z;]*')?", fullmatch=True), max_size=5))
def test_what_was_joined_is_split_again(statements: list[str]) -> None:
    assert all_statements(";\n".join(statements)) == statements
