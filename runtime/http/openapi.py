"""OpenAPI 3.1: what a service says of itself, and the document that the parts make together.

In: operations, and errors as they are answered. Out: the JSON of a document and its route. Never: a
limit or a code written down here; a part takes them from the code that keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runtime.access.guards import KEY_HEADERS, refusals_of
from runtime.access.keys import Scope
from runtime.http.plain_http import OPEN_PATHS
from runtime.http.protocol import HEAD_TOO_LARGE, URL_TOO_LONG
from runtime.http.refusals import BUSY, HTTPS_REQUIRED, NOT_HTTP, OVERLOADED

PATH = "/openapi.json"
JSON = "application/json"

Node = dict[str, Any]

# What is told to everybody, whatever keys there are.
OPEN: Node = {"security": []}
_OWN_HEADERS = {scope: name.decode().title() for scope, name in KEY_HEADERS.items()}
# How a caller shows a key, by name, as OpenAPI's Security Scheme Objects.
SECURITY_SCHEMES: Mapping[str, Node] = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "Basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The key as the user's name or as the password",
    },
    **{
        name: {
            "type": "apiKey",
            "in": "header",
            "name": name,
            "description": f"A key with the scope {scope}; goes before Authorization",
        }
        for scope, name in _OWN_HEADERS.items()
    },
}

_ERROR = "Error"
_HEADERS: Mapping[str, Node] = {
    "retry-after": {
        "description": "Seconds to wait before the next try",
        "schema": {"type": "integer", "minimum": 1},
    },
    "connection": {
        "description": "The connection is closed after this answer",
        "schema": {"const": "close"},
    },
    "www-authenticate": {
        "description": "What kind of key is asked for, and what is wrong with the one sent",
        "schema": {"type": "string"},
    },
    "ratelimit-policy": {
        "description": "The limits in force: so many (q) in so many seconds (w)",
        "schema": {"type": "string"},
    },
    "ratelimit": {
        "description": "What is left (r), and in how many seconds all is there again (t)",
        "schema": {"type": "string"},
    },
    "accept-encoding": {
        "description": "The encodings that are taken",
        "schema": {"type": "string"},
    },
}
# Of an answer to somebody whom a guard let in, where limits are set.
LIMITS_TOLD: Mapping[str, Node] = {
    "RateLimit-Policy": _HEADERS["ratelimit-policy"],
    "RateLimit": _HEADERS["ratelimit"],
}


@dataclass(frozen=True, slots=True)
class Told:
    """An error as it is answered."""

    status: int
    code: str
    message: str
    headers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """What one service has: its operations by path and method, and schemas that they name."""

    paths: Mapping[str, Node]
    schemas: Mapping[str, Node] = field(default_factory=dict)


def told(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Told:
    """Return the error that is told by an answer."""
    content = json.loads(body)
    names = {name.decode().lower() for name, _ in headers}
    return Told(status, content["code"], content["message"], frozenset(names & _HEADERS.keys()))


def guarded(scope: Scope) -> Node:
    """Return the security of an operation behind a guard; without keys nobody is asked for one."""
    return {"security": [{name: []} for name in ("Bearer", "Basic", _OWN_HEADERS[scope])] + [{}]}


def refusals(scope: Scope) -> Iterator[Told]:
    """Give the errors that a guard may answer with."""
    for each in refusals_of(scope):
        names = {name.decode() for name, _ in each.answer_headers}
        yield Told(each.status, each.code, each.message, frozenset(names & _HEADERS.keys()))


def success(
    description: str,
    schema: Node,
    example: object,
    headers: Mapping[str, Node] | None = None,
) -> Node:
    """Return the Response Object of a JSON answer."""
    media = {"schema": schema, "example": example}
    return {
        "description": description,
        "content": {JSON: media},
        **({"headers": dict(headers)} if headers else {}),
    }


def failures(errors: Iterable[Told]) -> Node:
    """Return the Response Objects by status of these errors and of those that any path may give."""
    return _by_status((*errors, *_OF_THE_SERVER, _told_by(HTTPS_REQUIRED)))


def _by_status(errors: Iterable[Told]) -> Node:
    by_status: dict[int, list[Told]] = {}
    for each in errors:
        by_status.setdefault(each.status, []).append(each)
    return {str(status): _failure(status, by_status[status]) for status in sorted(by_status)}


def health_part() -> Part:
    """Return `/livez` and `/readyz`, which every service has."""
    fine: Node = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": "ok"}},
    }
    not_ready = Told(503, "unavailable", "Not ready", frozenset(("retry-after",)))

    def health(summary: str, operation_id: str, errors: Iterable[Told]) -> Node:
        responses = {
            "200": success("It is", fine, {"status": "ok"}),
            **_by_status((*errors, *_OF_THE_SERVER)),
        }
        asked = {"operationId": operation_id, "summary": summary, "tags": ["health"], **OPEN}
        return {"get": {**asked, "responses": responses}}

    live, ready = (path.decode() for path in OPEN_PATHS)
    return Part(
        {
            live: health("Whether the process lives", "live", ()),
            ready: health("Whether its servers answer", "ready", (not_ready,)),
            PATH: {"get": _OF_ITSELF},
        }
    )


def document(title: str, description: str, *parts: Part) -> bytes:
    """Return the JSON of the document of a process that serves these parts."""
    every = (*parts, health_part())
    paths = {path: item for part in every for path, item in part.paths.items()}
    schemas = {name: schema for part in every for name, schema in part.schemas.items()}
    components = {
        "schemas": {**schemas, _ERROR: _ERROR_SCHEMA},
        "securitySchemes": SECURITY_SCHEMES,
    }
    content = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", "description": description},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": components,
    }
    return json.dumps(content, ensure_ascii=False).encode()


def document_route(content: bytes) -> BaseRoute:
    """Return the route of a document, whose bytes are made once."""

    async def answer(_: Request) -> Response:
        return Response(content, media_type=JSON)

    return Route(PATH, answer)


def _failure(status: int, errors: list[Told]) -> Node:
    # Of several errors with one code the first is the example.
    messages = {each.code: each.message for each in reversed(errors)}
    codes = list(dict.fromkeys(each.code for each in errors))
    examples = {
        code: {"value": {"status": "error", "code": code, "message": messages[code]}}
        for code in codes
    }
    schema = {
        "$ref": f"#/components/schemas/{_ERROR}",
        "properties": {"code": {"enum": codes}},
    }
    # A header is promised where each of the errors has it.
    promised = frozenset.intersection(*(each.headers for each in errors))
    headers = {
        name: {**_HEADERS[name], "required": name in promised}
        for name in sorted(frozenset.union(*(each.headers for each in errors)))
    }
    named = {"headers": headers} if headers else {}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {JSON: {"schema": schema, "examples": examples}},
        **named,
    }


def _told_by(answer: bytes) -> Told:
    """Return the error that is told by a whole answer of HTTP/1.1."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [(name, value) for name, _, value in (line.partition(b":") for line in lines)]
    return told(int(status.split()[1]), headers, body)


# What is said before a request has reached a path.
_OF_THE_SERVER = tuple(map(_told_by, (NOT_HTTP, BUSY, OVERLOADED, URL_TOO_LONG, HEAD_TOO_LARGE)))

_ERROR_SCHEMA: Node = {
    "description": "What went wrong: a code for programs, a sentence for people",
    "type": "object",
    "required": ["status", "code", "message"],
    "properties": {
        "status": {"const": "error"},
        "code": {"type": "string", "pattern": "^[a-z_]+$"},
        "message": {"type": "string", "minLength": 1},
    },
}
_OF_ITSELF: Node = {
    "operationId": "openapi",
    "summary": "This document",
    "tags": ["health"],
    **OPEN,
    "responses": {
        "200": success(
            "The document",
            {"type": "object", "required": ["openapi", "info", "paths"]},
            {"openapi": "3.1.0", "info": {"title": "Track", "version": "1"}, "paths": {}},
        ),
        **failures(()),
    },
}
