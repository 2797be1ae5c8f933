"""Ranges of offsets: what one insert holds, how it is announced and how ClickHouse knows it again.

In: offsets of one topic and partition. Out: the intent (metadata of a commit) and the
deduplication token. Never: anything that depends on how a fetch was cut: the range decides.
"""

from __future__ import annotations

import msgspec


class Intent(msgspec.Struct, frozen=True):
    """What is about to be inserted: the records from the committed offset up to `end`, inclusive.

    `since` is when its first attempt was announced (ms since 1970): ClickHouse forgets old tokens.
    """

    end: int
    since: int


def encode_intent(intent: Intent) -> str:
    """Return the metadata of a commit that announces an intent."""
    return msgspec.json.encode(intent).decode()


def decode_intent(metadata: str) -> Intent | None:
    """Return the intent that a commit announces, or None where it announces none.

    Raises:
        ValueError: the metadata is something else.
    """
    return msgspec.json.decode(metadata, type=Intent) if metadata else None


def token_of(log_id: str, topic: str, partition: int, first: int, last: int) -> str:
    """Return the deduplication token of a range; the log id keeps topics made anew apart."""
    return f"{log_id}:{topic}:{partition}:{first}-{last}"
