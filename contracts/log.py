"""The log id: what tells the topics of one pipeline from topics made anew under the same names.

In: a `Log`, or the JSON that stands under `LOG_KEY` in the topic `meta` and in ClickHouse's `log`.
Out: the other one. Never: a connection, a random number.
"""

from __future__ import annotations

import re

import msgspec

LOG_KEY = b"log"
POSITION_KEY = b"p"
# What `migrate` writes into each partition of the topic `state`: nothing processed, begin at 0.
FIRST_POSITION = b'{"next":0,"offset":-1,"received_at":-1}'

_ID = re.compile("[0-9a-f]{32}")


class Log(msgspec.Struct, frozen=True):
    """One log: its id (32 hex digits), the events that open and close, the partition count."""

    id: str
    opens: str
    closes: str
    partitions: int


def encode_log(log: Log) -> bytes:
    """Return the JSON of a log."""
    return msgspec.json.encode(log)


def decode_log(data: bytes) -> Log:
    """Return the log of a JSON text.

    Raises:
        ValueError: it is not the JSON of a log.
    """
    try:
        log = msgspec.json.decode(data, type=Log)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not _ID.fullmatch(log.id) or log.partitions < 1:
        raise ValueError(f"{data!r} is not the JSON of a log")
    return log
