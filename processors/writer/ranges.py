"""Ranges of offsets: what one insert holds, how it is announced and how ClickHouse knows it again.

In: offsets of one topic and partition. Out: the intent (metadata of a commit), the mark of a repair
in its place, and the deduplication token. Never: anything that depends on how a fetch was cut: the
range decides.
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
    try:
        return msgspec.json.decode(metadata, type=Intent) if metadata else None
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class Mark(msgspec.Struct, frozen=True):
    """What `track repair` commits in place of an intent: no writer begins until it has ended.

    `repair` names the run. `was` is the metadata that stood there, and `had_offset` whether there
    was an offset, so that a run that was cut off is taken up where it began; `cut_off` says that
    one was.
    """

    repair: str
    was: str
    had_offset: bool
    cut_off: bool = False


def encode_mark(mark: Mark) -> str:
    """Return the metadata of a commit that keeps writers away."""
    return msgspec.json.encode(mark).decode()


def decode_mark(metadata: str) -> Mark | None:
    """Return the mark that a commit carries, or None where it carries none."""
    try:
        return msgspec.json.decode(metadata, type=Mark)
    except msgspec.MsgspecError:
        return None


def token_of(log_id: str, topic: str, partition: int, first: int, last: int) -> str:
    """Return the deduplication token of a range; the log id keeps topics made anew apart."""
    return f"{log_id}:{topic}:{partition}:{first}-{last}"
