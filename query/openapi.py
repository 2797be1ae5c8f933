"""What query says of itself in OpenAPI: GET /metrics, GET /sessions and the page.

In: the types, limits and refusals of the code. Out: a part of the document. Never: a limit or a
sentence that the code does not have; an error's example is what the code says to a bad question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

import msgspec

from query.answers import SessionPeriod
from query.endpoints import METRICS_FAILED, SESSIONS_FAILED
from query.parameters import (
    DATE_PATTERN,
    MAX_USER_ID_LENGTH,
    Code,
    Grouping,
    Question,
    Refusal,
    parse_question,
    refuse_timezone,
)
from runtime.access.keys import Scope
from runtime.http.openapi import (
    LIMITS_TOLD,
    OPEN,
    Node,
    Part,
    Told,
    failures,
    guarded,
    refusals,
    success,
)

_DEFAULTS = {each.name: each.default for each in fields(Question)}
_DATE: Node = {"type": "string", "format": "date", "pattern": f"^{DATE_PATTERN}$"}
_DATES = {"start_date": "2025-01-01", "end_date": "2025-01-31"}
# A bad question for each code; the code says what is wrong with it.
_BAD: Mapping[Code, Mapping[str, str]] = {
    Code.MISSING_DATE: {},
    Code.INVALID_DATE: {**_DATES, "end_date": "2025-1-31"},
    Code.INVALID_RANGE: {**_DATES, "end_date": "2024-12-31"},
    Code.INVALID_GROUP_BY: {**_DATES, "group_by": "year"},
    Code.INVALID_TIMEZONE: {**_DATES, "timezone": "Mars/Olympus"},
    Code.INVALID_USER_ID: {**_DATES, "user_id": ""},
}


def query_part() -> Part:
    """Return the part of query."""
    counted = {
        "type": "object",
        "required": ["date"],
        "properties": {"date": _DATE},
        "additionalProperties": {"type": "integer", "minimum": 1},
        "description": "A period, labelled by its first day, and how often each event happened",
    }
    (_, schemas) = msgspec.json.schema_components([SessionPeriod])
    summed: Node = schemas[SessionPeriod.__name__]
    summed["properties"]["date"] = _DATE
    play = {"date": "2025-01-18", "play": 24, "stop": 22}
    session = msgspec.to_builtins(SessionPeriod("2025-01-18", 7200, 15, 480))
    return Part(
        {
            "/metrics": _question("metrics", "Count events", "EventPeriod", play, METRICS_FAILED),
            "/sessions": _question(
                "sessions", "Sum up sessions", SessionPeriod.__name__, session, SESSIONS_FAILED
            ),
            "/": {"get": _PAGE},
        },
        {"EventPeriod": counted, SessionPeriod.__name__: summed},
    )


def _question(name: str, summary: str, period: str, example: object, failure: str) -> Node:
    answer = {
        "type": "object",
        "required": ["status", "data"],
        "properties": {
            "status": {"const": "success"},
            "data": {"type": "array", "items": {"$ref": f"#/components/schemas/{period}"}},
        },
        "additionalProperties": False,
    }
    found = success(
        "The periods that have any, oldest first",
        answer,
        {"status": "success", "data": [example]},
        LIMITS_TOLD,
    )
    away = Told(503, "unavailable", failure, frozenset(("retry-after",)))
    operation = {
        "operationId": name,
        "summary": summary,
        "tags": ["questions"],
        **guarded(Scope.READ),
        "parameters": _PARAMETERS,
        "responses": {"200": found, **failures((*_refusals(), away, *refusals(Scope.READ)))},
    }
    return {"get": operation}


def _refusals() -> Iterator[Told]:
    for code, parameters in _BAD.items():
        refusal = parse_question(parameters)
        if not isinstance(refusal, Refusal) or refusal.code is not code:
            raise ValueError(f"the example of {code} is answered with {refusal}")
        yield Told(400, refusal.code, refusal.message)


def _parameter(name: str, description: str, schema: Node, example: str, **more: object) -> Node:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": schema,
        "example": example,
        **more,
    }


_PARAMETERS = [
    _parameter("start_date", "The first day", _DATE, _DATES["start_date"], required=True),
    _parameter("end_date", "The last day, inclusive", _DATE, _DATES["end_date"], required=True),
    _parameter(
        "group_by",
        "How long a period is; weeks begin on Sunday",
        {
            "type": "string",
            "enum": [each.value for each in Grouping],
            "default": _DEFAULTS["grouping"],
        },
        Grouping.WEEK.value,
    ),
    _parameter(
        "user_id",
        "Only this user; default: all",
        {"type": "string", "minLength": 1, "maxLength": MAX_USER_ID_LENGTH},
        "ada",
    ),
    _parameter(
        "timezone",
        f"Whose days they are: {refuse_timezone().message}",
        {"type": "string", "default": _DEFAULTS["timezone"]},
        "Europe/Berlin",
    ),
]
_PAGE: Node = {
    "operationId": "page",
    "summary": "A page that shows the same numbers as charts",
    "tags": ["questions"],
    **OPEN,
    "responses": {
        "200": {
            "description": "The page",
            "content": {"text/html": {"schema": {"type": "string"}}},
        },
        **failures(()),
    },
}
