"""A query string as a question: which parameters a route has, read and held against each other.

In: names and values, and the parameters of a route. Out: a `Question`, or the first `Refusal`.
Never: a clock, a connection; a parameter passed over that another route has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from query.parameters import KNOWN, LIMIT, Parameter, shown_name
from query.question import NO_LIMIT, Code, Fill, Format, Place, Question, Refusal

MAX_PERIODS = 10_000

Pairs = Iterable[tuple[str, str]]
Check = Callable[[Question], Refusal | None]


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
        if dot and f"{family}." in KNOWN:
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
        if name in KNOWN:
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
    names = ", ".join(each.shown for each in has)
    return Refusal(
        Code.UNEXPECTED_PARAMETER,
        f"{shown_name(name)} is a parameter of other questions; this one has {names}",
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
