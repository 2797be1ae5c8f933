"""Rejected records that name users who are forgotten: found, and taken out.

In: marks, a client of ClickHouse. Out: the places of the records; `rejected_events` without them.
Never: a guess; what names nobody that can be read stays, and is at most said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cli.forgetting.rows import forget_rows
from cli.rejected.rejection import Rejection
from cli.rejected.store import Filters, Rejections
from contracts.forgetting import Marks, users_named_in
from contracts.records import draft_of
from contracts.replays import Place
from contracts.tables import REJECTED_EVENTS
from runtime.clickhouse import AsyncClient

_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """Which rejections the marks cover; and which cannot be read, but contain a text."""

    covered: list[Place] = field(default_factory=list)
    unclear: list[Place] = field(default_factory=list)


async def find_rejections(
    client: AsyncClient, namespace: str, marks: Marks, text: str = ""
) -> Found:
    """Look through all rejections; `text` is what those that cannot be read are searched for.

    Raises:
        ClickHouseError: the server does not answer.
    """
    found = Found()
    async for page in Rejections(client, namespace).oldest_first(Filters()):
        for each in page:
            if are_covered(marks, each):
                found.covered.append(each.place)
            elif text and _may_contain(each, text.encode()):
                found.unclear.append(each.place)
    return found


def are_covered(marks: Marks, rejection: Rejection) -> bool:
    """Tell whether a rejection names a user who is forgotten as far as it goes."""
    place, value = rejection.place, rejection.value or b""
    if place.topic == "events":
        names = users_named_in(rejection.key, rejection.value, rejection.headers)
        return any(marks.cover(name, place.partition, place.offset) for name in names)
    # A row that ClickHouse has refused: its value is the record of that topic.
    return marks.cover_rejection(value) if place.topic == "rejected" else marks.cover_row(value)


async def forget_rejections(client: AsyncClient, namespace: str, places: Sequence[Place]) -> int:
    """Take rejections out of the table; return how many rows there were."""
    gone = 0
    for start in range(0, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        listed = ", ".join(
            f"('{namespace}.{each.topic}', {each.partition}, {each.offset})" for each in some
        )
        condition = f"(log_topic, log_partition, log_offset) IN ({listed})"
        gone += await forget_rows(client, REJECTED_EVENTS, condition)
    return gone


def _may_contain(rejection: Rejection, text: bytes) -> bool:
    value = rejection.value or b""
    return text in value and draft_of(rejection.value, rejection.headers) is None
