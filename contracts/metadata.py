"""Metadata: JSON that is looked into only when it is long or suspicious.

In: the bytes of a JSON text. Out: its values with the text of every number kept, or its compact
bytes. Never: a clock; a rounding of a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

MAX_METADATA_BYTES = 4096
MAX_METADATA_DEPTH = 64
# Of a whole text. How deep Python can follow depends on who calls, and what ingest has taken the
# sessionizer must take; so the limit lies far below.
MAX_JSON_DEPTH = 128


class JSONError(ValueError):
    """A text that is not JSON as RFC 8259 has it."""


class Number(str):
    """A number by the text that was sent."""

    __slots__ = ()


# A JSON value: object, array, string, number (as text), true, false, null.
Value = object

_SURROGATE = re.compile("[\ud800-\udfff]")
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
# An exponent, more digits than every 64-bit integer has, or an escape by code point (a lone
# surrogate would need one). Also inside of a text: whoever looks closer will see.
_SUSPICIOUS = re.compile(rb"[0-9\\](?:[eEu]|[0-9]{18})").search
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NEITHER_BEGIN_NOR_END = bytes(byte for byte in range(256) if byte not in b"{[]}")
_DIGITS_AS_ZEROS = bytes(0x30 if byte in b"0123456789" else 0x20 for byte in range(256))
_BACKSLASH = 0x5C
_HARMLESS_DIGITS = 3  # the least number beyond a double, 2e308, has four


def parse_json(text: bytes) -> Value:
    """Return the value of a JSON text, numbers as `Number`, lone surrogates as U+FFFD.

    Of a key that stands twice in an object the last value counts.

    Raises:
        JSONError: it is not UTF-8 or not JSON, or nested deeper than 128 levels.
    """
    if may_be_deep(text) and _is_deep(text):
        raise JSONError(f"is nested too deeply; metadata may have {MAX_METADATA_DEPTH} levels")
    try:
        value = json.loads(
            text.decode(), parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
        )
        return _without_surrogates(value) if b"\\u" in text else value
    except JSONError:
        raise
    except UnicodeDecodeError as error:
        raise JSONError("is not UTF-8") from error
    except ValueError as error:
        raise JSONError("is not valid JSON") from error


def may_be_deep(text: bytes) -> bool:
    """Tell, at a glance, whether a text could be nested deeper than 128 levels."""
    return len(text) > MAX_JSON_DEPTH and text.count(b"{") + text.count(b"[") > MAX_JSON_DEPTH


def _is_deep(text: bytes) -> bool:
    """Tell whether a text, if it is JSON, is nested deeper than 128 levels."""
    depth = 0
    for byte in _TEXT.sub(b"", text).translate(None, _NEITHER_BEGIN_NOR_END):
        depth += 1 if byte in b"{[" else -1
        if depth > MAX_JSON_DEPTH:
            return True
    return False


def encode_json(value: Value) -> bytes:
    """Return the compact encoding: UTF-8, no spaces, no needless escapes, numbers by their text."""
    parts: list[str] = []
    _append_json(value, parts)
    return "".join(parts).encode()


def depth_of(value: Value) -> int:
    """Return how many levels of objects and arrays a value has; 0 for a plain one."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in _inner(each)]
    return depth


def is_plain(raw: bytes) -> bool:
    """Tell, at a glance, that a metadata object needs no change to be stored.

    True: at most 4,096 bytes as sent (compact is never longer), and nothing in it that could be a
    lone surrogate or a number that a column refuses. False: look into it.
    """
    if len(raw) > MAX_METADATA_BYTES:
        return False
    # A byte is looked for as a number: as bytes of one it takes seven times as long.
    if raw.translate(_DIGITS_AS_ZEROS).count(0x30) <= _HARMLESS_DIGITS and _BACKSLASH not in raw:
        return True
    return _SUSPICIOUS(raw) is None


def storable(value: Value) -> Value:
    """Return the value with each number outside Int64/UInt64 or finite doubles as a string."""
    if isinstance(value, Number):
        return value if _fits_a_column(value) else str(value)
    if isinstance(value, dict):
        return {key: storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [storable(inner) for inner in value]
    return value


def fitting(pairs: Iterable[tuple[str, Value]], limit: int) -> dict[str, Value]:
    """Return the pairs, tried in order, whose object's compact encoding stays within `limit` bytes.

    One that does not fit is skipped; later ones may still fit.
    """
    kept: dict[str, Value] = {}
    size = 2
    for key, value in pairs:
        needed = len(encode_json({key: value})) - 2 + (1 if kept else 0)
        if size + needed <= limit:
            kept[key] = value
            size += needed
    return kept


def mend_surrogates(text: str) -> str:
    """Return the text with each lone surrogate as U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def _refuse_constant(name: str) -> Value:
    raise JSONError(f"has {name}, which is not JSON")


def _without_surrogates(value: Value) -> Value:
    if isinstance(value, Number):
        return value
    if isinstance(value, str):
        return mend_surrogates(value)
    if isinstance(value, dict):
        return {mend_surrogates(key): _without_surrogates(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(inner) for inner in value]
    return value


def _append_json(value: Value, parts: list[str]) -> None:
    if isinstance(value, Number):
        parts.append(value)
    elif isinstance(value, Mapping):
        separator = "{"
        for key, inner in value.items():
            parts += (separator, json.dumps(key, ensure_ascii=False), ":")
            _append_json(inner, parts)
            separator = ","
        parts.append("}" if value else "{}")
    elif isinstance(value, list):
        separator = "["
        for inner in value:
            parts.append(separator)
            _append_json(inner, parts)
            separator = ","
        parts.append("]" if value else "[]")
    else:
        parts.append(json.dumps(value, ensure_ascii=False))


def _inner(value: dict[str, Value] | list[Value]) -> Iterable[Value]:
    return value.values() if isinstance(value, dict) else value


def _fits_a_column(number: str) -> bool:
    if number.lstrip("-").isdigit():
        return len(number) <= 20 and _INT64_MIN <= int(number) <= _UINT64_MAX
    return abs(float(number)) != float("inf")
