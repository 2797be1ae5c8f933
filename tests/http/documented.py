"""An answer held against the OpenAPI document of the service that gave it.

In: the document, an answer of any HTTP client. Out: nothing, or a failure that says what is not
documented. Never: a schema of the tests' own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

Document = Mapping[str, Any]


def check_documented(
    document: Document, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    """Require that this answer is one that the document promises."""
    operation = document["paths"][path][method.lower()]
    assert str(status) in operation["responses"], f"{method} {path}: {status} is not documented"
    response = operation["responses"][str(status)]
    media = headers["content-type"].partition(";")[0]
    assert media in response["content"], f"{method} {path} {status}: {media}"
    if media == "application/json":
        check(document, response["content"][media]["schema"], json.loads(body))
    for name, header in response.get("headers", {}).items():
        assert name.lower() in headers or not header.get("required"), f"{path}: {name} is missing"
        if name.lower() in headers:
            content: Any = headers[name.lower()]
            if header["schema"].get("type") == "integer":
                content = int(content)
            check(document, header["schema"], content)


def check(document: Document, schema: Mapping[str, Any], value: object) -> None:
    """Require that a value is as a schema of the document says."""
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


def promised_codes(document: Document) -> Iterator[tuple[str, str, int, str]]:
    """Give each error that is promised: method, path, status and code."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                schema = response["content"].get("application/json", {}).get("schema", {})
                for code in schema.get("properties", {}).get("code", {}).get("enum", ()):
                    yield method, path, int(status), code
