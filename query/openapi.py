"""What query says of itself in OpenAPI: every question of the table, and its pages.

In: the entries, their parameters and types. Out: a part of the document. Never: a limit or a
sentence that the code does not have; an error's example is what the code says to a bad question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from query.answers import DATE
from query.endpoints import COMPLETE_FROM, NEXT, excessive
from query.formats import MEDIA_TYPES
from query.pages import API_PAGE_PATH, DASHBOARD_PATH
from query.parameters import END, LIMIT, START, USER_ID, Node, Parameter
from query.question import Format, Refusal
from query.store import Excess
from query.table import ENTRIES, Entry
from runtime.access.keys import Scope
from runtime.http.openapi import (
    LIMITS_TOLD,
    OPEN,
    Part,
    Told,
    failures,
    guarded,
    refusals,
    success,
    told,
)

_COUNTS = "EventPeriod"
_HEADERS: Mapping[str, Node] = {
    **LIMITS_TOLD,
    "Track-As-Of": {
        "description": "Everything that was received before this moment is counted",
        "schema": {"type": "string", "format": "date-time"},
    },
    "Track-Lag": {
        "description": "For how many seconds the pipeline has been behind: now less Track-As-Of",
        "schema": {"type": "string", "pattern": "^[0-9]+[.][0-9]{3}$"},
    },
    "ETag": {
        "description": "Of an answer about days that are over: for If-None-Match",
        "schema": {"type": "string"},
    },
    "Complete-From": {
        "description": "The first day of which all events are still kept, if the range begins "
        "before it",
        "schema": {"type": "string", "format": "date"},
    },
    "Link": {
        "description": 'The next page, as <...>; rel="next"',
        "schema": {"type": "string"},
    },
}
# What is wrong with parameters together, by path: values that are right each.
_TOGETHER: Mapping[str, tuple[Mapping[str, str], ...]] = {
    "/metrics/top": ({"by": "attributes.song_id", "event": "play"},),
    "/events": ({},),
}


def query_part() -> Part:
    """Return the part of query."""
    types = [kind for entry in ENTRIES for kind in entry.records]
    (_, schemas) = msgspec.json.schema_components(types)
    counted: Node = {
        "type": "object",
        "required": [DATE],
        "properties": {DATE: {"type": "string"}},
        "additionalProperties": {"type": "integer", "minimum": 0},
        "description": "A period, labelled by its beginning, and how often each event happened, or "
        "how many users had it",
    }
    return Part(
        {
            **{each.path: {"get": _operation(each)} for each in ENTRIES},
            DASHBOARD_PATH: _page("dashboard", "A page that shows the same numbers as charts"),
            API_PAGE_PATH: _page("api_page", "A page to read this and try it"),
        },
        {_COUNTS: counted, **schemas},
    )


def bad_questions(entry: Entry) -> Iterator[tuple[Mapping[str, str], Refusal]]:
    """Give a question for each way in which it can be wrong, and what is said to it."""
    good = {each.name: each.example for each in entry.parameters if each.required}
    for each in entry.parameters:
        name = f"{each.name}key" if each.is_family else each.name
        if each.required:
            yield from _refused(entry, {**good, name: ""})
        yield from _refused(entry, {**good, name: each.bad})
    names = {each.name for each in entry.parameters}
    if START.name in names:
        turned = {USER_ID.name: USER_ID.example, START.name: START.example, END.name: "2024-12-31"}
        yield from _refused(entry, {**good, **turned})
    other = "within_hours" if "within_hours" not in names else "fill"
    yield from _refused(entry, {**good, other: "1"})
    for more in _TOGETHER.get(entry.path, ()):
        yield from _refused(entry, {**good, **more})


def _refused(entry: Entry, asked: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], Refusal]]:
    refusal = entry.parse(asked.items())
    if not isinstance(refusal, Refusal):
        raise ValueError(f"{entry.path}: the example of a bad question is a good one: {asked}")
    yield asked, refusal


def _operation(entry: Entry) -> Node:
    return {
        "operationId": entry.name,
        "summary": entry.summary,
        "tags": ["questions"],
        **guarded(Scope.READ),
        "parameters": [_parameter(each) for each in entry.parameters],
        "responses": {
            "200": _found(entry),
            "304": {"description": "It is still what If-None-Match says", "content": {}},
            **failures((*_failures(entry), *refusals(Scope.READ))),
        },
    }


def _found(entry: Entry) -> Node:
    names = [each.__name__ for each in entry.records] or [_COUNTS]
    records = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    members: Node = {
        "status": {"const": "success"},
        "data": {"type": "array", "items": {"anyOf": records} if records[1:] else records[0]},
        COMPLETE_FROM: {"type": "string", "format": "date"},
    }
    if LIMIT in entry.parameters:
        members[NEXT] = {"type": "string", "description": "`cursor` of the next page"}
    answer = {
        "type": "object",
        "required": ["status", "data"],
        "properties": members,
        "additionalProperties": False,
    }
    found = success(
        "What was found", answer, {"status": "success", "data": _EXAMPLES[names[0]]}, _HEADERS
    )
    for form in (Format.NDJSON, Format.CSV):
        found["content"][MEDIA_TYPES[form].partition(";")[0]] = {"schema": {"type": "string"}}
    return found


def _failures(entry: Entry) -> Iterator[Told]:
    for _, refusal in bad_questions(entry):
        yield Told(400, refusal.code, refusal.message)
    yield Told(503, "unavailable", entry.failure, frozenset(("retry-after",)))
    for excess in Excess:
        answer = excessive(excess)
        yield told(answer.status_code, answer.raw_headers, bytes(answer.body))


def _parameter(parameter: Parameter) -> Node:
    described: Node = {
        "name": parameter.name.rstrip("."),
        "in": "query",
        "description": parameter.about,
        "schema": parameter.schema,
        "example": int(parameter.example) if parameter.example.isdigit() else parameter.example,
    }
    if parameter.required:
        described["required"] = True
    if parameter.is_family:
        # An exploded object: each of its members is a parameter of the query string.
        described |= {"style": "form", "explode": True}
        described["example"] = {f"{parameter.name}device": parameter.example}
    elif parameter.most > 1:
        items = {"type": "array", "items": parameter.schema, "maxItems": parameter.most}
        described["schema"] = items
        described["example"] = [parameter.example]
    return described


_ROW: Node = {"event_id": "e-1", "user_id": "ada", "received_at": "2025-01-18T10:00:01.000Z"}
_SONG: Node = {"song_id": "song_0042"}
_EXAMPLES: Mapping[str, list[Node]] = {
    _COUNTS: [{DATE: "2025-01-18", "play": 24, "stop": 22}],
    "SessionPeriod": [
        {DATE: "2025-01-18", "totalDuration": 7200, "sessionCount": 15, "averageDuration": 480}
    ],
    "ConcurrentPeriod": [{DATE: "2025-01-18T10:00:00+00:00", "peak": 4, "mean": 2.125}],
    "Rank": [{"value": "song_0042", "count": 24}],
    "EventRow": [
        {**_ROW, "event": "play", "timestamp": "2025-01-18T10:00:00.000Z", "metadata": _SONG,
         "source": ""}
    ],
    "OpenPlayRow": [{**_ROW, "timestamp": "2025-01-18T10:00:00.000Z", "metadata": _SONG}],
    "SessionRow": [
        {"session_id": "0" * 32, "user_id": "ada", "started_at": "2025-01-18T10:00:00.000Z",
         "ended_at": "2025-01-18T10:03:20.000Z", "duration_ms": 200_000, "attributes": _SONG,
         "play_id": "e-1", "stop_id": "e-2", "received_at": "2025-01-18T10:03:20.500Z"}
    ],
}  # fmt: skip


def _page(name: str, summary: str) -> Node:
    found = {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}
    responses = {"200": found, **failures(())}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["pages"],
            **OPEN,
            "responses": responses,
        }
    }
