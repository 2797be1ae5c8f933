"""The parameters of all questions, in one style: how each is read, and what is said of it.

In: the names and values of a query string, and which of the parameters a route has. Out: a
`Question`, or a `Refusal` that names the parameter and what it may be. Never: a clock, a
connection; a parameter that a route lacks passed over, if another route has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar
from zoneinfo import available_timezones

from query.question import (
    NO_LIMIT,
    Code,
    Counted,
    Cursor,
    Fill,
    Filter,
    Format,
    Grouping,
    Path,
    Place,
    Question,
    Refusal,
    Stats,
)

MAX_TEXT_LENGTH = 256
MAX_NAMES = 100
MAX_FILTERS = 10
MAX_PERIODS = 10_000
MAX_ROWS = 1_000
MAX_VALUE_LENGTH = 4096
MAX_HOURS = 30 * 24
DATE_PATTERN = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

Node = dict[str, Any]
Pairs = Iterable[tuple[str, str]]
Check = Callable[[Question], Refusal | None]
Chosen = TypeVar("Chosen", bound=StrEnum)
_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Question)}
_DATE = re.compile(DATE_PATTERN)
_NUMBER = re.compile("[0-9]{1,9}")
_CURSOR = re.compile("([0-9]{1,15})[.]([0-9]{1,4})[.]([0-9]{1,19})")
_MAX_OFFSET = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query string.

    Attributes:
        name: as it is written; one that ends in a dot stands for a family, such as `metadata.KEY`.
        field: of `Question`.
        read: returns the value that a text stands for, or None; of a family it is given the text
            of the key too.
        refusal: what is said if it is None.
        schema: its JSON Schema.
        about: a sentence for people.
        example: a text that can be read.
        bad: one that cannot.
        most: how often it may be given; of one that may be given once the last one counts.
        default: its value if it is absent; None is the default of `Question`.
        required: what is said if it is absent, if it must not be.
    """

    name: str
    field: str
    read: Callable[[str, str], object]
    refusal: Refusal
    schema: Node
    about: str
    example: str
    bad: str
    most: int = 1
    default: object = None
    required: Refusal | None = None

    @property
    def is_family(self) -> bool:
        """Whether the name goes on with a key."""
        return self.name.endswith(".")


def nothing_more(_: Question) -> None:
    """Find nothing wrong with a question whose parameters are right."""


def parse_question(
    asked: Pairs, has: Iterable[Parameter], check: Check = nothing_more
) -> Question | Refusal:
    """Return what is asked for, or the first thing wrong.

    Args:
        asked: names and values in the order of the query string.
        has: the parameters of the route. Names that no route has are passed over.
        check: finds what is wrong with them together, where a route has rules of its own.
    """
    given: dict[str, list[tuple[str, str]]] = {}
    for name, text in asked:
        family, dot, key = name.partition(".")
        if dot and f"{family}." in _KNOWN:
            given.setdefault(f"{family}.", []).append((key, text))
        else:
            given.setdefault(name, []).append(("", text))
    values: dict[str, Any] = {}
    for parameter in has:
        texts = given.pop(parameter.name, [])
        if parameter.required is not None and (not texts or not texts[-1][1]):
            return parameter.required
        read = _read(parameter, texts)
        if isinstance(read, Refusal):
            return read
        if read is None:
            read = parameter.default
        if read is not None:
            earlier = values.get(parameter.field, ())
            values[parameter.field] = (*earlier, *read) if isinstance(read, tuple) else read
    for name in given:
        if name in _KNOWN:
            return _refuse_unexpected(name, has)
    question = Question(**values)
    return _wrong_together(question) or check(question) or question


def check_list_of_events(question: Question) -> Refusal | None:
    """Refuse a page of everybody's events; all of them are streamed in no order."""
    if question.user_id is None and question.limit != NO_LIMIT:
        return Refusal(Code.MISSING_USER_ID, "user_id is required, unless limit is none")
    return None


def check_ranking(question: Question) -> Refusal | None:
    """Refuse conditions on what the ranked rows do not have."""
    of_sessions = question.by.place is Place.ATTRIBUTES
    places = {each.path.place for each in question.filters}
    if of_sessions and (question.events or Place.METADATA in places):
        return _refuse_beside(
            "event and metadata.KEY", "by=event and by=metadata.KEY; sessions have attributes.KEY"
        )
    if not of_sessions and Place.ATTRIBUTES in places:
        return _refuse_beside("attributes.KEY", "by=attributes.KEY; events have metadata.KEY")
    return None


def refuse_timezone() -> Refusal:
    """Return the refusal of a time zone that this service or ClickHouse does not know."""
    return TIMEZONE.refusal


def _read(parameter: Parameter, texts: list[tuple[str, str]]) -> object | Refusal | None:
    """Return the value of a parameter, None where it is absent."""
    if len(texts) > parameter.most > 1:
        return parameter.refusal
    read = [parameter.read(key, text) for key, text in texts[-parameter.most :]]
    if None in read:
        return parameter.refusal
    if parameter.most > 1:
        return tuple(read)
    return read[0] if read else None


def _refuse_unexpected(name: str, has: Iterable[Parameter]) -> Refusal:
    names = ", ".join(_shown(each.name) for each in has)
    return Refusal(
        Code.UNEXPECTED_PARAMETER,
        f"{_shown(name)} is a parameter of other questions; this one has {names}",
    )


def _refuse_beside(names: str, where: str) -> Refusal:
    return Refusal(Code.UNEXPECTED_PARAMETER, f"{names} can only be asked with {where}")


def _wrong_together(question: Question) -> Refusal | None:
    """Return what is wrong although each parameter is right by itself."""
    if question.end < question.start:
        return Refusal(
            Code.INVALID_RANGE, "end_date is before start_date; it must be the same day or later"
        )
    counts_periods = question.fill is Fill.ZERO or not question.grouping.is_of_days
    if counts_periods and question.most_periods > MAX_PERIODS:
        return Refusal(
            Code.INVALID_RANGE,
            f"start_date and end_date must lie closer together: there may be {MAX_PERIODS} "
            f"periods, and by {question.grouping} there would be about {question.most_periods}",
        )
    if question.limit == NO_LIMIT and question.format is Format.JSON:
        return LIMIT.refusal
    return None


def _shown(name: str) -> str:
    return f"{name}KEY" if name.endswith(".") else name


def _choice(
    kind: type[Chosen], *allowed: Chosen
) -> tuple[Callable[[str, str], Chosen | None], str, Node]:
    """Return the reader of one of some words, the words for people, and their schema."""
    by_text = {each.value: each for each in allowed or tuple(kind)}
    *most, last = by_text
    words = f"{', '.join(most)} or {last}" if most else last
    return lambda _, text: by_text.get(text), words, {"type": "string", "enum": list(by_text)}


def _one_of(
    name: str,
    field: str,
    code: Code,
    about: str,
    kind: type[Chosen],
    *allowed: Chosen,
    default: Chosen | None = None,
) -> Parameter:
    read, words, schema = _choice(kind, *allowed)
    return Parameter(
        name,
        field,
        read,
        Refusal(code, f"{name} must be {words}"),
        {**schema, "default": (default or _DEFAULTS[field]).value},
        about,
        schema["enum"][-1],
        "year",
        default=default,
    )


def _parse_date(_: str, text: str) -> date | None:
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _parse_timezone(_: str, text: str) -> str | None:
    return text if text in _timezones() else None


def _parse_name(_: str, text: str) -> str | None:
    return text if 1 <= len(text) <= MAX_TEXT_LENGTH else None


def _parse_whole(most: int) -> Callable[[str, str], int | None]:
    def parse(_: str, text: str) -> int | None:
        number = int(text) if _NUMBER.fullmatch(text) else 0
        return number if 1 <= number <= most else None

    return parse


def _parse_filter(place: Place) -> Callable[[str, str], Filter | None]:
    def parse(keys: str, text: str) -> Filter | None:
        path = _path(place, keys)
        return Filter(path, text) if path and len(text) <= MAX_VALUE_LENGTH else None

    return parse


def _parse_limit(_: str, text: str) -> int | None:
    return NO_LIMIT if text == "none" else _parse_whole(MAX_ROWS)(_, text)


def _parse_by(_: str, text: str) -> Path | None:
    if text == Place.EVENT:
        return Path(Place.EVENT)
    place, _, keys = text.partition(".")
    return _path(Place(place), keys) if f"{place}." in _KNOWN else None


def _path(place: Place, keys: str) -> Path | None:
    return Path(place, keys) if 1 <= len(keys) <= MAX_TEXT_LENGTH else None


def _parse_cursor(_: str, text: str) -> Cursor | None:
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    at_ms, partition, offset = map(int, found.groups())
    return Cursor(at_ms, partition, offset) if offset <= _MAX_OFFSET else None


@cache
def _timezones() -> frozenset[str]:
    # `localtime` is whatever the machine is set to.
    return frozenset(available_timezones() - {"localtime"})


_NO_DATES = Refusal(Code.MISSING_DATE, "start_date and end_date are required")
_BAD_DATE = Refusal(Code.INVALID_DATE, "Invalid date format. Use YYYY-MM-DD")
_DATE_SCHEMA: Node = {"type": "string", "format": "date", "pattern": f"^{DATE_PATTERN}$"}
_NAME_SCHEMA: Node = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_LENGTH}


def _day(name: str, field: str, about: str, example: str, bad: str) -> Parameter:
    return Parameter(
        name, field, _parse_date, _BAD_DATE, _DATE_SCHEMA, about, example, bad, required=_NO_DATES
    )


START = _day("start_date", "start", "The first day", "2025-01-01", "2025-1-1")
END = _day("end_date", "end", "The last day, inclusive", "2025-01-31", "2025-02-30")
_GROUPED = "How long a period is; weeks begin on Sunday"
GROUP_BY = _one_of(
    "group_by",
    "grouping",
    Code.INVALID_GROUP_BY,
    _GROUPED,
    Grouping,
    Grouping.DAY,
    Grouping.WEEK,
    Grouping.MONTH,
    Grouping.HOUR,
)
GROUP_BY_MOMENT = _one_of(
    "group_by",
    "grouping",
    Code.INVALID_GROUP_BY,
    "How long a period is",
    Grouping,
    Grouping.HOUR,
    Grouping.MINUTE,
    default=Grouping.HOUR,
)
TIMEZONE = Parameter(
    "timezone",
    "timezone",
    _parse_timezone,
    Refusal(
        Code.INVALID_TIMEZONE,
        "timezone must be a name of the IANA time zone database, such as UTC or Europe/Berlin",
    ),
    {"type": "string", "default": _DEFAULTS["timezone"]},
    "Whose days they are: a name of the IANA time zone database",
    "Europe/Berlin",
    "Mars/Olympus",
)
_BAD_USER = Refusal(Code.INVALID_USER_ID, f"user_id must have 1 to {MAX_TEXT_LENGTH} characters")
USER_ID = Parameter(
    "user_id", "user_id", _parse_name, _BAD_USER, _NAME_SCHEMA,
    "Only this user; default: all", "ada", "",
)  # fmt: skip
THE_USER_ID = replace(USER_ID, about="Whose they are; needed unless limit is none")
EVENT = Parameter(
    "event", "events", _parse_name,
    Refusal(
        Code.INVALID_EVENT,
        f"event must have 1 to {MAX_TEXT_LENGTH} characters, and may be given {MAX_NAMES} times",
    ),
    _NAME_SCHEMA, "Only events of this name; may be given several times", "play", "",
    most=MAX_NAMES,
)  # fmt: skip
FILL = _one_of(
    "fill", "fill", Code.INVALID_FILL, "zero: periods without data are told as well", Fill
)
COUNT = _one_of(
    "count", "counted", Code.INVALID_COUNT,
    "users: how many different users instead of how many events, within about 1 %", Counted,
)  # fmt: skip
STATS = _one_of(
    "stats", "stats", Code.INVALID_STATS,
    "extended: median, 95th percentile and longest duration, and how many users, as well", Stats,
)  # fmt: skip
FORMAT = _one_of(
    "format", "format", Code.INVALID_FORMAT,
    "How the answer is written; default: what Accept asks for, else json", Format,
)  # fmt: skip


def _filter(place: Place, about: str) -> Parameter:
    return Parameter(
        f"{place}.", "filters", _parse_filter(place),
        Refusal(
            Code.INVALID_FILTER,
            f"{place}.KEY must have a key of 1 to {MAX_TEXT_LENGTH} characters and a value of at "
            f"most {MAX_VALUE_LENGTH}, and may be given {MAX_FILTERS} times",
        ),
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{place}[.].{{1,{MAX_TEXT_LENGTH}}}$"},
            "additionalProperties": {"type": "string", "maxLength": MAX_VALUE_LENGTH},
            "maxProperties": MAX_FILTERS,
        },
        about, "mobile", "x" * (MAX_VALUE_LENGTH + 1), most=MAX_FILTERS,
    )  # fmt: skip


METADATA = _filter(
    Place.METADATA,
    "Only events whose metadata has this value, written as text, at this key (with dots between "
    "keys); of the events that are still kept",
)
ATTRIBUTES = _filter(
    Place.ATTRIBUTES, "Only sessions whose play has this value, written as text, at this key"
)
BY = Parameter(
    "by", "by", _parse_by,
    Refusal(Code.INVALID_BY, "by must be event, metadata.KEY or attributes.KEY"),
    {"type": "string", "pattern": "^(event|(metadata|attributes)[.].+)$", "default": "event"},
    "What is ranked: names of events, values of their metadata, or of sessions' attributes",
    "metadata.song_id", "song",
)  # fmt: skip


_BAD_LIMIT = f"limit must be a whole number from 1 to {MAX_ROWS}"
LIMIT_OF_TOP = Parameter(
    "limit", "limit", _parse_whole(MAX_ROWS), Refusal(Code.INVALID_LIMIT, _BAD_LIMIT),
    {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": 10},
    "How many, at most", "10", "0", default=10,
)  # fmt: skip
LIMIT = Parameter(
    "limit", "limit", _parse_limit,
    Refusal(Code.INVALID_LIMIT, f"{_BAD_LIMIT}, or, with format=csv or ndjson, none"),
    {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_ROWS}, {"const": "none"}],
        "default": _DEFAULTS["limit"],
    },
    "How many rows a page has, at most; none: all rows, as a stream of csv or ndjson", "100", "0",
)  # fmt: skip
CURSOR = Parameter(
    "cursor", "cursor", _parse_cursor,
    Refusal(Code.INVALID_CURSOR, "cursor must be what the page before has told, unchanged"),
    {"type": "string"}, "Go on behind an earlier page: its `next`", "1735732800000.3.1234", "x",
)  # fmt: skip
WITHIN_HOURS = Parameter(
    "within_hours", "within_hours", _parse_whole(MAX_HOURS),
    Refusal(Code.INVALID_HOURS, f"within_hours must be a whole number from 1 to {MAX_HOURS}"),
    {"type": "integer", "minimum": 1, "maximum": MAX_HOURS, "default": _DEFAULTS["within_hours"]},
    "Only plays received in the last hours", "24", "0",
)  # fmt: skip

# What some route has: where another one is asked for it, it is refused, not passed over.
_KNOWN = frozenset(
    each.name
    for each in (
        START, END, GROUP_BY, TIMEZONE, USER_ID, EVENT, FILL, COUNT, STATS, FORMAT, METADATA,
        ATTRIBUTES, BY, LIMIT, CURSOR, WITHIN_HOURS,
    )
)  # fmt: skip
