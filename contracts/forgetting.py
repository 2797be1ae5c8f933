"""Users who are forgotten: the mark that says up to where, and the records that it covers.

In: the id of a log, a user, a record of one of the topics. Out: the key and the value of a record
of the topic `forgotten`, whether a record is of somebody who is forgotten. Never: a connection, a
clock; a user's id in a mark.

A mark counts for what was received before it. What comes later is a new user's, under the same id.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from contracts.records import Headers, draft_of
from contracts.rows import content_of, headers_of


class Mark(msgspec.Struct, frozen=True):
    """What stands under a user's key in the topic `forgotten`.

    Attributes:
        partition: the user's partition.
        offsets: by partition of `events`, the offset before which everything of the user is
            forgotten.
        accepted: the same for the user's partition of `accepted`.
        forgotten_at: when, in ms since 1970.
    """

    partition: int
    offsets: tuple[int, ...]
    accepted: int
    forgotten_at: int


encode_mark = msgspec.json.Encoder().encode
decode_mark = msgspec.json.Decoder(Mark).decode


def user_key(log_id: str, user_id: str) -> str:
    """Return what stands for a user in marks: 64 hex digits, a SHA-256 that the log id keys.

    ClickHouse has the same function, so that it can find a user's rows without being told the id.
    """
    return hashlib.sha256(f"{log_id}{user_id}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Marks:
    """All marks of a log, by the key of the user."""

    log_id: str
    by_key: Mapping[str, Mark] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether anybody is forgotten."""
        return bool(self.by_key)

    def of(self, user_id: str) -> Mark | None:
        """Return the mark of a user, if there is one."""
        return self.by_key.get(user_key(self.log_id, user_id)) if self.by_key else None

    def cover(self, user_id: str, partition: int, offset: int) -> bool:
        """Tell whether a user is forgotten as far as a record of `events` goes."""
        mark = self.of(user_id)
        return mark is not None and offset < mark.offsets[partition]

    def cover_row(self, value: bytes) -> bool:
        """Tell whether a record of `accepted` or `sessions` is of a user who is forgotten."""
        if not self.by_key:
            return False
        try:
            row = msgspec.json.decode(value, type=_Row)
        except msgspec.MsgspecError:
            return False
        mark = self.of(row.user_id)
        return mark is not None and row.log_offset < mark.offsets[mark.partition]

    def cover_rejection(self, value: bytes) -> bool:
        """Tell whether a record of `rejected` names a user who is forgotten."""
        if not self.by_key:
            return False
        try:
            row = msgspec.json.decode(value, type=_RejectedRow)
            names = users_named_in(
                content_of(row.key, row.key_encoding),
                content_of(row.value, row.value_encoding),
                headers_of(row.headers),
            )
        except (msgspec.MsgspecError, ValueError):
            return False
        return any(self.cover(name, row.log_partition, row.log_offset) for name in names)


class _Row(msgspec.Struct):
    user_id: str
    log_offset: int


class _RejectedRow(msgspec.Struct):
    log_partition: int
    log_offset: int
    key: str
    key_encoding: str
    value: str
    value_encoding: str
    headers: str


def users_named_in(key: bytes | None, value: bytes | None, headers: Headers) -> set[str]:
    """Return the users that a rejected record names: by its key, and by the field for the user.

    A value that cannot be read names nobody.
    """
    return set(_names_in(key, value, headers))


def _names_in(key: bytes | None, value: bytes | None, headers: Headers) -> Iterator[str]:
    if key:
        with contextlib.suppress(UnicodeDecodeError):
            yield key.decode()
    named = (draft_of(value, headers) or {}).get("user_id")
    if isinstance(named, str):
        # Of an id that was sent as a number, `named` is its digits.
        yield str(named)
