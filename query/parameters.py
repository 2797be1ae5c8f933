"""The parameters of all questions, in one style: how each is read, and what is said of it.

In: nothing. Out: values of `Parameter`, which routes choose from. Never: a limit that is told and
not kept: schema, refusal and reader of a parameter stand together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from query.question import (
    Code,
    Counted,
    Fill,
    Format,
    Grouping,
    Place,
    Question,
    Refusal,
    Stats,
)
from query.texts import (
    DATE_PATTERN,
    MAX_ROWS,
    MAX_TEXT_LENGTH,
    MAX_VALUE_LENGTH,
    Chosen,
    read_by,
    read_cursor,
    read_date,
    read_filter,
    read_limit,
    read_name,
    read_one_of,
    read_timezone,
    read_whole,
)

MAX_NAMES = 100
MAX_FILTERS = 10
MAX_HOURS = 30 * 24

Node = dict[str, Any]
_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Question)}


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
    def shown(self) -> str:
        """The name as people read it."""
        return shown_name(self.name)

    @property
    def is_family(self) -> bool:
        """Whether the name goes on with a key."""
        return self.name.endswith(".")


def shown_name(name: str) -> str:
    """Return a name as people read it: that of a family with a KEY."""
    return f"{name}KEY" if name.endswith(".") else name


def refuse_timezone() -> Refusal:
    """Return the refusal of a time zone that this service or ClickHouse does not know."""
    return TIMEZONE.refusal


def _one_of(
    name: str,
    field: str,
    code: Code,
    about: str,
    kind: type[Chosen],
    *allowed: Chosen,
    default: Chosen | None = None,
) -> Parameter:
    choices = allowed or tuple(kind)
    *most, last = (each.value for each in choices)
    return Parameter(
        name,
        field,
        read_one_of(*choices),
        Refusal(code, f"{name} must be {', '.join(most)} or {last}"),
        {
            "type": "string",
            "enum": [*most, last],
            "default": (default or _DEFAULTS[field]).value,
        },
        about,
        last,
        "year",
        default=default,
    )


_NO_DATES = Refusal(Code.MISSING_DATE, "start_date and end_date are required")
_BAD_DATE = Refusal(Code.INVALID_DATE, "Invalid date format. Use YYYY-MM-DD")
_DATE_SCHEMA: Node = {"type": "string", "format": "date", "pattern": f"^{DATE_PATTERN}$"}
_NAME_SCHEMA: Node = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_LENGTH}


def _day(name: str, field: str, about: str, example: str, bad: str) -> Parameter:
    return Parameter(
        name, field, read_date, _BAD_DATE, _DATE_SCHEMA, about, example, bad, required=_NO_DATES
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
    read_timezone,
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
    "user_id", "user_id", read_name, _BAD_USER, _NAME_SCHEMA,
    "Only this user; default: all", "ada", "",
)  # fmt: skip
THE_USER_ID = replace(USER_ID, about="Whose they are; needed unless limit is none")
EVENT = Parameter(
    "event", "events", read_name,
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
        f"{place}.", "filters", read_filter(place),
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
    "by", "by", read_by,
    Refusal(Code.INVALID_BY, "by must be event, metadata.KEY or attributes.KEY"),
    {"type": "string", "pattern": "^(event|(metadata|attributes)[.].+)$", "default": "event"},
    "What is ranked: names of events, values of their metadata, or of sessions' attributes",
    "metadata.song_id", "song",
)  # fmt: skip


_BAD_LIMIT = f"limit must be a whole number from 1 to {MAX_ROWS}"
LIMIT_OF_TOP = Parameter(
    "limit", "limit", read_whole(MAX_ROWS), Refusal(Code.INVALID_LIMIT, _BAD_LIMIT),
    {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": 10},
    "How many, at most", "10", "0", default=10,
)  # fmt: skip
LIMIT = Parameter(
    "limit", "limit", read_limit,
    Refusal(Code.INVALID_LIMIT, f"{_BAD_LIMIT}, or, with format=csv or ndjson, none"),
    {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_ROWS}, {"const": "none"}],
        "default": _DEFAULTS["limit"],
    },
    "How many rows a page has, at most; none: all rows, as a stream of csv or ndjson", "100", "0",
)  # fmt: skip
CURSOR = Parameter(
    "cursor", "cursor", read_cursor,
    Refusal(Code.INVALID_CURSOR, "cursor must be what the page before has told, unchanged"),
    {"type": "string"}, "Go on behind an earlier page: its `next`", "1735732800000.3.1234", "x",
)  # fmt: skip
WITHIN_HOURS = Parameter(
    "within_hours", "within_hours", read_whole(MAX_HOURS),
    Refusal(Code.INVALID_HOURS, f"within_hours must be a whole number from 1 to {MAX_HOURS}"),
    {"type": "integer", "minimum": 1, "maximum": MAX_HOURS, "default": _DEFAULTS["within_hours"]},
    "Only plays received in the last hours", "24", "0",
)  # fmt: skip

# What some route has: where another one is asked for it, it is refused, not passed over.
KNOWN = frozenset(
    each.name
    for each in (
        START, END, GROUP_BY, TIMEZONE, USER_ID, EVENT, FILL, COUNT, STATS, FORMAT, METADATA,
        ATTRIBUTES, BY, LIMIT, CURSOR, WITHIN_HOURS,
    )
)  # fmt: skip
