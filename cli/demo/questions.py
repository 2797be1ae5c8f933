"""What the demo asks /metrics and /sessions, and how an answer compares with the expectation.

In: a connection, an expectation, questions. Out: comparisons. Never: an expectation of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from cli.demo.day import Day, Way
from cli.expected import Expectation, Period, Question
from cli.http_connection import HTTPConnection

PATHS = ("/metrics", "/sessions")


class QuestionError(Exception):
    """A question was answered with an error that will not pass; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a GET answered beside what it must answer.

    Attributes:
        asked: the path, without its parameters.
        of: the parameter that tells the question from its like: a grouping or a user.
        url: the whole of what was asked.
    """

    asked: str
    of: str
    url: str
    answered: list[Period]
    expected: list[Period]

    @property
    def agrees(self) -> bool:
        """Whether they are the same, to the last number."""
        return self.answered == self.expected


def questions_for_all(day: Day) -> Iterator[tuple[str, Question]]:
    """Yield a path and a question for all users, for each grouping; by day first."""
    for group_by in ("day", "week", "month"):
        for path in PATHS:
            yield path, replace(_dates(day), group_by=group_by)


def questions_for_users(day: Day, limit: int) -> Iterator[tuple[str, Question]]:
    """Yield a path and a question for single users, of every kind; some worth showing first."""
    for user_id in _users_to_ask(day, limit):
        for path in PATHS:
            yield path, replace(_dates(day), user_id=user_id)


async def compare(
    connection: HTTPConnection, expectation: Expectation, path: str, question: Question
) -> Comparison:
    """Ask, and put the answer beside what is expected.

    Raises:
        QuestionError: it was answered with an error other than that ClickHouse is away.
    """
    parameters = {
        "start_date": question.start.isoformat(),
        "end_date": question.end.isoformat(),
        "group_by": question.group_by,
    }
    if question.user_id is not None:
        parameters["user_id"] = question.user_id
    url = f"{path}?{urlencode(parameters)}"
    expect = expectation.metrics if path == "/metrics" else expectation.sessions
    of = question.user_id or f"by {question.group_by}"
    return Comparison(path, of, url, await _get(connection, url), expect(question))


async def _get(connection: HTTPConnection, path: str) -> list[Period]:
    """Return the `data` of an answer; nothing where the service is away for the moment."""
    try:
        answer = await connection.request("GET", path)
    except OSError:
        return []
    if answer.status == 503:
        return []
    if answer.status != 200:
        said = answer.body.decode(errors="replace")
        raise QuestionError(f"GET {path} answered {answer.status} {said}")
    data: list[Period] = json.loads(answer.body)["data"]
    return data


def _dates(day: Day) -> Question:
    """Return the dates of the demo; one more, should it have gone on past midnight."""
    start, end = (
        datetime.fromtimestamp(at / 1000, UTC).date() for at in (day.starts_at, day.ends_at)
    )
    return Question(start, end + timedelta(days=1))


def _users_to_ask(day: Day, limit: int) -> list[str]:
    by_kafka = [user.user_id for user in day.users if user.way is Way.KAFKA]
    beyond_ascii = [user.user_id for user in day.users if not user.user_id.isascii()]
    busiest = Counter(sending.user.user_id for sending in day.sendings).most_common(2)
    shown = [user_id for user_id, _ in busiest] + by_kafka[:2] + beyond_ascii[:1]
    others = [user.user_id for user in day.users[:: max(1, len(day.users) // limit)]]
    return list(dict.fromkeys(shown + by_kafka[:20] + beyond_ascii[:10] + others))[:limit]
