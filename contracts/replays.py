"""A rejected record sent again: its name, the id that its event gets, the mark that it leaves.

In: the place of a rejected record. Out: a name that people can type, an event id, the key and the
value of a record of the topic `replayed`. Never: a connection, a clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import msgspec

_TEXT = re.compile(r"(events|accepted|sessions|rejected)/(0|[1-9][0-9]{0,4})/(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: it names the rejection, for a record is rejected once.

    `topic` is the field of `contracts.topics.Topics`. For a row that ClickHouse has refused it is
    the topic that the row stands on.
    """

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the place that a text names, or None.

        >>> Place.parse("events/3/1042")
        Place(topic='events', partition=3, offset=1042)
        """
        match = _TEXT.fullmatch(text)
        return cls(match[1], int(match[2]), int(match[3])) if match else None

    def __str__(self) -> str:
        """The text that `parse` takes; in UTF-8 it is the key of the mark."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Mark(msgspec.Struct, frozen=True):
    """What stands under a rejection's name in the topic `replayed`: the event it has become.

    Of a user who is forgotten `user_id` and `event_id` are empty.
    """

    event_id: str
    user_id: str
    partition: int
    replayed_at: int


encode_mark = msgspec.json.Encoder().encode
decode_mark = msgspec.json.Decoder(Mark).decode


def without_user(mark: Mark) -> Mark:
    """Return a mark as it stays when its user is forgotten: it was replayed, and when."""
    return msgspec.structs.replace(mark, event_id="", user_id="")


def replayed_id(log_id: str, place: Place) -> str:
    """Return the id of an event that had none of its own before it was rejected.

    The processors take it like a client's, so it does not begin with `~`. The log id is 128 random
    bits: no client makes such an id by chance.
    """
    return f"replay:{log_id}:{place}"
