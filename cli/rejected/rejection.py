"""A rejection as the command has it: a row of `rejected_events`, its texts as bytes again.

In: nothing. Out: the type. Never: a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.events import Reason
from contracts.replays import Place


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that was rejected, as far as it is kept; `value` is empty where it was not asked."""

    place: Place
    reason: Reason
    message: str
    source: str
    received_at: int
    key: bytes | None
    value: bytes | None
    value_bytes: int
    value_sha256: str
    headers: Sequence[tuple[str, bytes | None]]
    whole: bool
