"""What may be asked, and how each wrong question is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.openapi import bad_questions
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
from query.table import BY_PATH, ENTRIES, Entry

DATES = {"start_date": "2025-01-01", "end_date": "2025-01-31"}
DAYS = Question(date(2025, 1, 1), date(2025, 1, 31))


def parse(asked: dict[str, str], path: str = "/metrics") -> Question | Refusal:
    return BY_PATH[path].parse(asked.items())


def test_the_least_that_is_needed() -> None:
    assert parse(DATES) == DAYS
    assert parse({}, "/events") == Refusal(
        Code.MISSING_USER_ID, "user_id is required, unless limit is none"
    )
    assert parse({"user_id": "u"}, "/events") == Question(user_id="u")
    assert parse({}, "/sessions/open") == Question()


def test_everything() -> None:
    asked = {**DATES, "group_by": "week", "user_id": "a\0😀", "timezone": "Europe/Berlin", "x": "y"}
    assert parse(asked) == Question(
        date(2025, 1, 1), date(2025, 1, 31), Grouping.WEEK, "a\0😀", "Europe/Berlin"
    )


@pytest.mark.parametrize("absent", ["start_date", "end_date"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_date_is_missing(absent: str, value: str | None) -> None:
    asked = {name: text for name, text in DATES.items() if name != absent}
    if value is not None:
        asked[absent] = value
    assert parse(asked) == Refusal(Code.MISSING_DATE, "start_date and end_date are required")


@pytest.mark.parametrize(
    "text",
    ["2024-1-1", "2024-02-30", "20240101", "2024-W01-1", "2024-01-01T00:00:00", " 2024-01-01",
     "2024-01-01\n", "٢٠٢٤-٠١-٠١", "0000-01-01", "yesterday"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["start_date", "end_date"])
def test_a_date_is_malformed_or_impossible(name: str, text: str) -> None:
    assert parse({**DATES, name: text}) == Refusal(
        Code.INVALID_DATE, "Invalid date format. Use YYYY-MM-DD"
    )


@pytest.mark.parametrize(
    ("changed", "code", "named"),
    [
        ({"end_date": "2024-12-31"}, Code.INVALID_RANGE, "end_date"),
        ({"group_by": "year"}, Code.INVALID_GROUP_BY, "group_by must be day, week, month or hour"),
        ({"group_by": "DAY"}, Code.INVALID_GROUP_BY, "group_by must be day, week, month or hour"),
        ({"group_by": ""}, Code.INVALID_GROUP_BY, "group_by must be day, week, month or hour"),
        ({"timezone": ""}, Code.INVALID_TIMEZONE, "timezone"),
        ({"timezone": "Mars/Olympus"}, Code.INVALID_TIMEZONE, "timezone"),
        ({"timezone": "../../etc/passwd"}, Code.INVALID_TIMEZONE, "timezone"),
        ({"timezone": "localtime"}, Code.INVALID_TIMEZONE, "timezone"),
        ({"user_id": ""}, Code.INVALID_USER_ID, "user_id"),
        ({"user_id": "x" * 257}, Code.INVALID_USER_ID, "user_id"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, str], code: Code, named: str) -> None:
    refusal = parse({**DATES, **changed})
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    assert named in refusal.message


@pytest.mark.parametrize(
    ("path", "changed", "wanted"),
    [
        ("/metrics", {"group_by": "hour"}, replace(DAYS, grouping=Grouping.HOUR)),
        ("/metrics", {"fill": "zero"}, replace(DAYS, fill=Fill.ZERO)),
        ("/metrics", {"count": "users"}, replace(DAYS, counted=Counted.USERS)),
        ("/metrics", {"event": "play"}, replace(DAYS, events=("play",))),
        ("/metrics", {"format": "csv"}, replace(DAYS, format=Format.CSV)),
        (
            "/metrics",
            {"metadata.a.b": "", "metadata.it's `": "3"},
            replace(
                DAYS,
                filters=(
                    Filter(Path(Place.METADATA, "a.b"), ""),
                    Filter(Path(Place.METADATA, "it's `"), "3"),
                ),
            ),
        ),
        ("/sessions", {"stats": "extended"}, replace(DAYS, stats=Stats.EXTENDED)),
        ("/sessions/concurrent", {}, replace(DAYS, grouping=Grouping.HOUR)),
        ("/metrics/top", {}, replace(DAYS, limit=10)),
        (
            "/metrics/top",
            {"by": "attributes.device", "limit": "1000"},
            replace(DAYS, limit=1000, by=Path(Place.ATTRIBUTES, "device")),
        ),
        ("/sessions/list", {"cursor": "0.0.0"}, replace(DAYS, cursor=Cursor(0, 0, 0))),
        (
            "/sessions/list",
            {"limit": "none", "format": "ndjson"},
            replace(DAYS, limit=NO_LIMIT, format=Format.NDJSON),
        ),
    ],
)
def test_each_parameter_is_read(path: str, changed: dict[str, str], wanted: Question) -> None:
    assert parse({**DATES, **changed}, path) == wanted


@pytest.mark.parametrize(
    ("path", "changed", "code", "named"),
    [
        ("/metrics", {"fill": "one"}, Code.INVALID_FILL, "fill must be none or zero"),
        ("/metrics", {"count": ""}, Code.INVALID_COUNT, "count must be events or users"),
        ("/metrics", {"event": "x" * 257}, Code.INVALID_EVENT, "event"),
        ("/metrics", {"metadata.": "x"}, Code.INVALID_FILTER, "metadata.KEY"),
        ("/metrics", {"metadata.a": "x" * 4097}, Code.INVALID_FILTER, "metadata.KEY"),
        ("/metrics", {"format": "xml"}, Code.INVALID_FORMAT, "json, csv or ndjson"),
        ("/metrics", {"attributes.a": "x"}, Code.UNEXPECTED_PARAMETER, "attributes.KEY"),
        ("/sessions", {"metadata.a": "x"}, Code.UNEXPECTED_PARAMETER, "metadata.KEY"),
        ("/sessions", {"event": "play"}, Code.UNEXPECTED_PARAMETER, "event"),
        ("/sessions", {"stats": "all"}, Code.INVALID_STATS, "basic or extended"),
        ("/sessions/concurrent", {"group_by": "day"}, Code.INVALID_GROUP_BY, "hour or minute"),
        ("/sessions/list", {"limit": "none"}, Code.INVALID_LIMIT, "csv or ndjson"),
        ("/sessions/list", {"limit": "1001"}, Code.INVALID_LIMIT, "1 to 1000"),
        ("/sessions/list", {"limit": "٣"}, Code.INVALID_LIMIT, "limit"),
        ("/sessions/list", {"cursor": "1.2"}, Code.INVALID_CURSOR, "cursor"),
        ("/sessions/list", {"cursor": f"1.2.{2**63}"}, Code.INVALID_CURSOR, "cursor"),
        ("/sessions/list", {"cursor": "1.70000.2"}, Code.INVALID_CURSOR, "cursor"),
        ("/metrics/top", {"by": "song"}, Code.INVALID_BY, "event, metadata.KEY or attributes.KEY"),
        ("/metrics/top", {"by": "metadata."}, Code.INVALID_BY, "by"),
        (
            "/metrics/top",
            {"by": "attributes.a", "event": "x"},
            Code.UNEXPECTED_PARAMETER,
            "by=event",
        ),
        ("/metrics/top", {"attributes.a": "x"}, Code.UNEXPECTED_PARAMETER, "by=attributes.KEY"),
        ("/sessions/open", {"within_hours": "721"}, Code.INVALID_HOURS, "1 to 720"),
    ],
)
def test_what_is_wrong_elsewhere_is_named(
    path: str, changed: dict[str, str], code: Code, named: str
) -> None:
    good = {} if path == "/sessions/open" else DATES
    refusal = parse({**good, **changed}, path)
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    assert named in refusal.message


def test_names_and_filters_may_be_given_so_many_times() -> None:
    entry = BY_PATH["/metrics"]
    for name, most in (("event", 100), ("metadata.a", 10)):
        pairs = [*DATES.items(), *([(name, "x")] * most)]
        assert isinstance(entry.parse(pairs), Question)
        assert isinstance(entry.parse([*pairs, (name, "x")]), Refusal)


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({"group_by": "hour", "end_date": "2026-02-20"}, True),
        ({"group_by": "hour", "end_date": "2026-03-20"}, False),
        ({"fill": "zero", "end_date": "2052-05-01"}, True),
        ({"fill": "zero", "end_date": "2053-01-01"}, False),
        ({"fill": "zero", "group_by": "month", "end_date": "2500-12-31"}, True),
        ({"end_date": "9999-12-31"}, True),
    ],
)
def test_there_may_be_so_many_periods(changed: dict[str, str], taken: bool) -> None:
    answer = parse({**DATES, **changed})
    assert isinstance(answer, Question) is taken
    if isinstance(answer, Refusal):
        assert (answer.code, "closer together" in answer.message) == (Code.INVALID_RANGE, True)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda each: each.path)
def test_of_one_that_stands_twice_the_last_counts(entry: Entry) -> None:
    asked = [*DATES.items(), ("user_id", "ada"), ("format", "xml"), ("format", "csv")]
    names = {each.name for each in entry.parameters}
    question = entry.parse([each for each in asked if each[0] in names])
    assert isinstance(question, Question)
    assert question.format is Format.CSV


@pytest.mark.parametrize(
    ("timezone", "day", "labels"),
    [
        ("UTC", "2025-10-26", ["2025-10-26T02:00:00+00:00", "2025-10-26T03:00:00+00:00"]),
        (
            "Europe/Berlin",
            "2025-10-26",
            [
                "2025-10-26T02:00:00+02:00",
                "2025-10-26T02:00:00+01:00",
                "2025-10-26T03:00:00+01:00",
            ],
        ),
        ("Europe/Berlin", "2025-03-30", ["2025-03-30T01:00:00+01:00", "2025-03-30T03:00:00+02:00"]),
        ("Asia/Kathmandu", "2025-01-01", ["2025-01-01T02:00:00+05:45"]),
        (
            "Australia/Lord_Howe",
            "2025-04-06",
            [
                "2025-04-06T01:00:00+11:00",
                "2025-04-06T01:00:00+10:30",
                "2025-04-06T02:00:00+10:30",
            ],
        ),
    ],
)
def test_hours_where_clocks_change(timezone: str, day: str, labels: list[str]) -> None:
    one = date.fromisoformat(day)
    question = Question(one, one, Grouping.HOUR, timezone=timezone)
    periods = list(question.periods())
    assert len(set(periods)) == len(periods)
    at = periods.index(labels[0])
    assert periods[at : at + len(labels)] == labels


def test_the_labels_of_days() -> None:
    def labels(start: date, end: date, grouping: Grouping) -> list[str]:
        return list(Question(start, end, grouping).periods())

    assert labels(date(2024, 12, 30), date(2025, 1, 5), Grouping.WEEK) == [
        "2024-12-29",
        "2025-01-05",
    ]
    assert labels(date(2025, 1, 31), date(2025, 2, 1), Grouping.MONTH) == [
        "2025-01-01",
        "2025-02-01",
    ]
    assert labels(date(9999, 12, 31), date.max, Grouping.DAY) == ["9999-12-31"]
    assert labels(date.min, date.min, Grouping.WEEK) == ["0001-01-01"]


@pytest.mark.parametrize(
    ("start", "end", "timezone", "begins_at", "ends_before"),
    [
        ("1970-01-01", "1970-01-01", "UTC", 0, 86_400),
        ("0001-01-01", "9999-12-31", "UTC", 0, 2**32 - 1),
        ("1970-01-01", "1970-01-01", "Europe/Berlin", 0, 82_800),
        ("2025-03-30", "2025-03-30", "Europe/Berlin", 1_743_289_200, 1_743_372_000),
        ("9000-01-01", "9999-12-31", "UTC", 2**32 - 1, 2**32 - 1),
        ("0001-01-01", "1969-12-30", "UTC", 0, 0),
    ],
)
def test_the_seconds_of_a_range(
    start: str, end: str, timezone: str, begins_at: int, ends_before: int
) -> None:
    question = Question(date.fromisoformat(start), date.fromisoformat(end), timezone=timezone)
    assert (question.begins_at, question.ends_before) == (begins_at, ends_before)


@given(
    st.dates(date(1972, 1, 1), date(2099, 12, 30)),
    st.integers(0, 400),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_a_range_begins_and_ends_where_the_local_day_changes(
    start: date, days: int, timezone: str
) -> None:
    question = Question(start, start + timedelta(days=days), timezone=timezone)

    def day_of(second: int) -> date:
        return datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(timezone)).date()

    assert day_of(question.begins_at) == question.start
    assert day_of(question.begins_at - 1) < question.start
    assert day_of(question.ends_before - 1) == question.end
    assert day_of(question.ends_before) > question.end


SOME_DATES = ("2025-01-01", "2024-12-31", "9999-12-31", "2024-02-30", "")


def some_of(entry: Entry) -> st.SearchStrategy[dict[str, str]]:
    """A good question with a few parameters more, or others, right and wrong, its own or not."""
    texts: dict[str, tuple[str, ...]] = {
        f"{each.name}key" if each.is_family else each.name: (each.example, each.bad, "")
        for each in entry.parameters
    }
    texts |= {name: SOME_DATES for name in ("start_date", "end_date") if name in texts}
    texts |= {name: ("1",) for name in ("within_hours", "fill", "no") if name not in texts}
    good = {each.name: each.example for each in entry.parameters if each.required}
    if "user_id" in texts:
        good["user_id"] = "ada"
    one = st.sampled_from([(name, text) for name, each in texts.items() for text in each])
    return st.lists(one, max_size=3).map(lambda changes: {**good, **dict(changes)})


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
@given(data=st.data())
def test_whatever_is_wrong_is_documented(entry: Entry, data: st.DataObject) -> None:
    documented = {refusal.code for _, refusal in bad_questions(entry)}
    found = entry.parse(data.draw(some_of(entry)).items())
    assert not isinstance(found, Refusal) or found.code in documented
