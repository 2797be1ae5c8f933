"""The demo's tables on the narrowest console that it prints to."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.demo.questions import Comparison
from cli.demo.report import summary_table
from cli.expected import Period

DAYS = ("2026-11-24", "2026-11-25")


@pytest.mark.parametrize(
    "user", ["demo-7a5bd6-user-00008", "demo-7a5bd6-Zoë 🎧 & 友達/7", "x" * 80]
)
def test_numbers_and_verdicts_stay_however_long_a_user_is(user: str) -> None:
    sessions: list[Period] = [
        {"date": day, "sessionCount": 19_133, "totalDuration": 4_230_828} for day in DAYS
    ]
    other: list[Period] = [{**sessions[0], "averageDuration": 1}, sessions[1]]
    said = io.StringIO()
    Console(file=said, width=120).print(
        summary_table(
            "Single users",
            [
                Comparison("/sessions", user, "", sessions, sessions),
                Comparison("/sessions", user, "", other, sessions),
            ],
        )
    )
    printed = said.getvalue()
    assert printed.count("✓") == 1
    assert printed.count("✗") == 1
    assert printed.count("38,266 sessions, 8,461,656 s") == 4
