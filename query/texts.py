"""How the text of a parameter becomes a value, or None if it is none.

In: the key, of a parameter that is a family, and the text. Out: a value. Never: a refusal, which
`parameters` has; a clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from functools import cache
from typing import TypeVar
from zoneinfo import available_timezones

from query.question import NO_LIMIT, Cursor, Filter, Path, Place

MAX_TEXT_LENGTH = 256
MAX_VALUE_LENGTH = 4096
MAX_ROWS = 1_000
DATE_PATTERN = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

Chosen = TypeVar("Chosen", bound=StrEnum)
_DATE = re.compile(DATE_PATTERN)
_NUMBER = re.compile("[0-9]{1,9}")
_CURSOR = re.compile("([0-9]{1,15})[.]([0-9]{1,4})[.]([0-9]{1,19})")
_MAX_OFFSET = 2**63 - 1
_WITH_KEYS = frozenset((Place.METADATA, Place.ATTRIBUTES))


def read_one_of(*allowed: Chosen) -> Callable[[str, str], Chosen | None]:
    """Return a reader of one of some words."""
    by_text = {each.value: each for each in allowed}
    return lambda _, text: by_text.get(text)


def read_date(_: str, text: str) -> date | None:
    """Return the day that YYYY-MM-DD names."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def read_timezone(_: str, text: str) -> str | None:
    """Return the name of a zone of the IANA database."""
    return text if text in _timezones() else None


def read_name(_: str, text: str) -> str | None:
    """Return a text that is neither empty nor too long."""
    return text if 1 <= len(text) <= MAX_TEXT_LENGTH else None


def read_whole(most: int) -> Callable[[str, str], int | None]:
    """Return a reader of whole numbers from 1 to the most."""

    def read(_: str, text: str) -> int | None:
        number = int(text) if _NUMBER.fullmatch(text) else 0
        return number if 1 <= number <= most else None

    return read


def read_filter(place: Place) -> Callable[[str, str], Filter | None]:
    """Return a reader of conditions on values at a place; the key is the path."""

    def read(keys: str, text: str) -> Filter | None:
        path = _path(place, keys)
        return Filter(path, text) if path and len(text) <= MAX_VALUE_LENGTH else None

    return read


def read_limit(_: str, text: str) -> int | None:
    """Return how many rows a page may have; `none` is no limit."""
    return NO_LIMIT if text == "none" else read_whole(MAX_ROWS)(_, text)


def read_by(_: str, text: str) -> Path | None:
    """Return what is ranked."""
    if text == Place.EVENT:
        return Path(Place.EVENT)
    place, _, keys = text.partition(".")
    return _path(Place(place), keys) if place in _WITH_KEYS else None


def _path(place: Place, keys: str) -> Path | None:
    return Path(place, keys) if 1 <= len(keys) <= MAX_TEXT_LENGTH else None


def read_cursor(_: str, text: str) -> Cursor | None:
    """Return the place of a row, as a page has told it."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    at_ms, partition, offset = map(int, found.groups())
    return Cursor(at_ms, partition, offset) if offset <= _MAX_OFFSET else None


@cache
def _timezones() -> frozenset[str]:
    # `localtime` is whatever the machine is set to.
    return frozenset(available_timezones() - {"localtime"})
