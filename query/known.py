"""Numbers that take long to find, found again only for the periods that have changed.

In: a question about everybody. Out: the rows of its statement. Never: a row that was found when the
period had another sum.

Different users of a period are merged from sketches of sixteen thousand registers, a fifth of a
millisecond for each period and name; quantiles are counted from all sessions. Sums take next to
nothing. Who has once found the numbers of a period knows them for as long as its sums are the
same: rows are added to a period, or go by retention or because a user is forgotten, and each
changes a sum.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Protocol

from query.question import Counted, Grouping, Question, Stats
from query.statements.statement import Statement

# A year by day of a hundred names; about ten megabytes.
MOST_KNOWN = 40_000


class Row(Protocol):
    """A row that says what it is about, and the sums that it was found with."""

    @property
    def period(self) -> str:
        """The label of the period."""

    @property
    def place(self) -> Hashable:
        """What no other row of an answer has."""

    @property
    def sums(self) -> Hashable:
        """The sums of the rows that it was found in."""


Ask = Callable[[Statement[Any]], Awaitable[Sequence[Any]]]
State = Callable[[Question], Statement[Any]]


def takes_long(question: Question) -> bool:
    """Whether a question has more than sums of everybody as its answer."""
    of_all = question.user_id is None and not question.filters
    return of_all and (question.counted is Counted.USERS or question.stats is Stats.EXTENDED)


class Known:
    """The rows that are known, at most `most` of them; those not asked for longest go first."""

    def __init__(self, ask: Ask, most: int = MOST_KNOWN) -> None:
        self._ask = ask
        self._most = most
        self._rows: OrderedDict[Hashable, dict[Hashable, Row]] = OrderedDict()

    async def ask(self, state: State, question: Question) -> Sequence[Any]:
        """Return the rows of the statement of a question that takes long.

        Args:
            state: returns the statement of such a question, and that of the same one about sums.
            question: what is asked.

        Raises:
            what `ask` raises.
        """
        rows = self._of(state, question)
        sums: Sequence[Row] = await self._ask(state(_about_sums(question)))
        changed = [each for each in sums if not _is_known(rows, each)]
        if changed:
            found: Sequence[Row] = await self._ask(state(_narrowed(question, changed)))
            rows.update((each.place, each) for each in found)
        answer = [row for each in sums if (row := rows.get(each.place))]
        self._let_go()
        return answer

    def _of(self, state: State, question: Question) -> dict[Hashable, Row]:
        """Return what is known of periods that are the same as those of a question."""
        # The first and the last week or month count as far as the range does.
        of_range = (question.start, question.end) if _may_be_cut_off(question) else ()
        scope = (state, question.timezone, question.grouping, *of_range)
        rows = self._rows.setdefault(scope, {})
        self._rows.move_to_end(scope)
        return rows

    def _let_go(self) -> None:
        while sum(map(len, self._rows.values())) > self._most:
            self._rows.popitem(last=False)


def _about_sums(question: Question) -> Question:
    return replace(question, counted=Counted.EVENTS, stats=Stats.BASIC)


def _may_be_cut_off(question: Question) -> bool:
    return question.grouping in {Grouping.WEEK, Grouping.MONTH}


def _is_known(rows: dict[Hashable, Row], now: Row) -> bool:
    before = rows.get(now.place)
    return before is not None and before.sums == now.sums


def _narrowed(question: Question, changed: Iterable[Row]) -> Question:
    """Return the question about those days alone that are to be looked at again."""
    if _may_be_cut_off(question):
        return question
    days = {date.fromisoformat(each.period[:10]) for each in changed}
    return replace(question, start=min(days), end=max(days))
