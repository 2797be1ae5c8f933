"""The OpenAPI document: valid, made from the code, the same limits as the code's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import BaseRoute, Route

from contracts.events import Event, Reason, Rejected, parse_event
from ingest.answers import STATUS, Problem
from ingest.app import Ingest
from ingest.openapi import NEVER_OF_A_BODY, NOT_OF_THE_PATH, event_schema, ingest_part
from query.app import create_app
from query.openapi import bad_questions, query_part
from query.question import Code, Question
from query.table import BY_PATH
from runtime.access.guards import open_guards, refusals_of
from runtime.access.keys import Scope
from runtime.http.openapi import Part, document
from runtime.settings import Settings
from tests.http.documented import check, promised_codes

PARTS: Mapping[str, tuple[Part, ...]] = {
    "ingest": (ingest_part(),),
    "query": (query_part(),),
    "serve": (ingest_part(), query_part()),
}
DATES = {"start_date": "2025-01-01", "end_date": "2025-01-02"}
OF_THE_SERVER = {"invalid_request", "url_too_long", "headers_too_large", "https_required"}
WHOLE = json.loads(document("Track", "", *PARTS["serve"]))


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_it_is_valid(parts: tuple[Part, ...]) -> None:
    OpenAPIV31SpecValidator(json.loads(document("Track", "", *parts))).validate()


async def _no_partitions() -> int:
    return 0


def test_every_route_is_in_it() -> None:
    def paths(routes: list[BaseRoute]) -> set[str]:
        return {each.path for each in routes if isinstance(each, Route)}

    of_query = paths(create_app(Settings(), Path()).routes) - {"/docs/{name}"}
    of_ingest = paths(
        Ingest(Settings(), print, _no_partitions, open_guards(Settings()).write).routes()
    )
    assert of_query | of_ingest == set(WHOLE["paths"])
    assert {"/track", "/track/batch", "/v1/batch", "/pixel.gif"} <= of_ingest
    assert of_query == set(json.loads(document("", "", query_part()))["paths"])


def test_every_example_is_as_its_schema_says() -> None:
    checked = 0
    for item in WHOLE["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                for media in response["content"].values():
                    examples = [each["value"] for each in media.get("examples", {}).values()]
                    for example in [*examples, *([media["example"]] if "example" in media else [])]:
                        check(WHOLE, media["schema"], example)
                        checked += 1
            for parameter in operation.get("parameters", ()):
                check(WHOLE, parameter["schema"], parameter["example"])
    assert checked > 20
    event = WHOLE["components"]["schemas"]["Event"]
    for example in event["examples"]:
        check(WHOLE, event, example)
        assert isinstance(parse_event(msgspec.json.encode(example)), Event)


def test_every_reason_and_problem_has_its_place() -> None:
    promised = {
        (code, status) for _, path, status, code in promised_codes(WHOLE) if path == "/track"
    }
    closed: set[str] = {*Reason, *Problem} - NEVER_OF_A_BODY - NOT_OF_THE_PATH
    assert {(code, STATUS[code]) for code in closed} <= promised
    of_keys = {each.code for each in refusals_of(Scope.WRITE)}
    assert {code for code, _ in promised} - closed == OF_THE_SERVER | of_keys


def test_every_refusal_of_a_question_has_its_place() -> None:
    promised = {
        path: {code for _, at, status, code in promised_codes(WHOLE) if (at, status) == (path, 400)}
        for path in BY_PATH
    }
    for path, entry in BY_PATH.items():
        told = {refusal.code for _, refusal in bad_questions(entry)}
        assert promised[path] == {*told, "too_much", "invalid_request"}, path
        assert {each.refusal.code for each in entry.parameters} <= told
    assert set(Code) <= set().union(*promised.values())


def limits(schema: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the least and the greatest length of a text, where the schema has them."""
    texts = [each for each in (schema, *schema.get("anyOf", ())) if each.get("type") == "string"]
    if not texts or "maxLength" not in texts[0] or "format" in texts[0]:
        return None
    return texts[0]["minLength"], texts[0]["maxLength"]


def test_the_lengths_of_an_event_are_those_that_are_taken() -> None:
    measured = 0
    for name, field in event_schema()["properties"].items():
        if (found := limits(field)) is None:
            continue
        least, most = found
        for length, taken in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
            body = {"event": "play", "user_id": "u", name: "😀" * length}
            assert isinstance(parse_event(msgspec.json.encode(body)), Event) is taken, (
                name,
                length,
            )
        measured += 1
    assert measured == 3


@pytest.mark.parametrize("path", BY_PATH)
def test_what_the_schemas_of_a_question_take_is_taken(path: str) -> None:
    entry, good = BY_PATH[path], [("user_id", "ada"), *DATES.items()]
    good = [each for each in good if each[0] in {one.name for one in entry.parameters}]
    assert isinstance(entry.parse(good), Question)
    for parameter in entry.parameters:
        least, most = limits(parameter.schema) or (0, -1)
        for length in {least - 1, least, most, most + 1} - {-1} if most > 0 else ():
            answer = entry.parse([*good, (parameter.name, "x" * length)])
            assert isinstance(answer, Question) is (least <= length <= most), length
        for each in parameter.schema.get("enum", ()):
            assert isinstance(entry.parse([*good, (parameter.name, each)]), Question)
        for number in ("minimum", "maximum"):
            if (limit := parameter.schema.get(number)) is not None:
                for value in (limit - 1, limit, limit + 1):
                    taken = parameter.schema["minimum"] <= value <= parameter.schema["maximum"]
                    answer = entry.parse([*good, (parameter.name, str(value))])
                    assert isinstance(answer, Question) is taken, value


@pytest.mark.parametrize(
    ("field", "value"), [("event", "date"), ("event_id", "~x"), ("timestamp", 1), ("metadata", [])]
)
def test_what_the_schema_refuses_the_code_refuses(field: str, value: object) -> None:
    body = {"event": "play", "user_id": "u", field: value}
    with pytest.raises(Exception, match=r"is not valid|does not match|should not be valid"):
        check(WHOLE, WHOLE["components"]["schemas"]["Event"], body)
    assert isinstance(parse_event(msgspec.json.encode(body)), Rejected)
