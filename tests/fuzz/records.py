"""Records of the topic `events` as text, and what a partition makes of them.

In: a sample, the JSON of a value and headers in Latin-1. Out: a record; the outputs of the pure
step. Never: a broker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.rows import AcceptedRow, RejectedRow, SessionRow
from contracts.topics import Partitioner
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Partition, Pipeline

LOG_ID, TOPIC = "0" * 32, "fuzz.events"
WINDOW = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a consumer gives it."""

    offset: int
    timestamp: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    key: bytes | None = None


@dataclass(slots=True)
class Sink:
    """What a step has put out."""

    accepted: list[AcceptedRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    readdressed: list[tuple[int, bytes, list[tuple[str, bytes]]]] = field(default_factory=list)

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        assert user == row.user_id.encode()
        self.accepted.append(row)

    def complete(self, user: bytes, row: SessionRow) -> None:
        assert user == row.user_id.encode()
        self.sessions.append(row)

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        self.rejected.append(row)

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        self.readdressed.append((partition, value, headers))


def partition_of(partitions: int, number: int = 0) -> Partition:
    """Return a partition without any state."""
    pipeline = Pipeline(LOG_ID, TOPIC, Partitioner(partitions), PairingRules(), WINDOW)
    return Partition(number, pipeline)


def read_record(sample: bytes, offset: int, received_at: int) -> Record | None:
    """Return the record that a sample describes; None where it describes none."""
    try:
        described: Any = json.loads(sample)
        value, headers = described["value"], described["headers"]
        return Record(
            offset,
            received_at,
            None if value is None else _bytes_of(value),
            # Kafka's names are UTF-8, and what is not is read with U+FFFD in its place.
            tuple(
                (
                    _bytes_of(name).decode("utf-8", "replace"),
                    None if content is None else _bytes_of(content),
                )
                for name, content in headers
            ),
            None if (key := described.get("key")) is None else _bytes_of(key),
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def write_record(value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> bytes:
    """Return the sample that describes a record."""
    described = {
        "value": None if value is None else value.decode("latin-1"),
        "headers": [
            [name, None if content is None else content.decode("latin-1")]
            for name, content in headers
        ],
    }
    return json.dumps(described, ensure_ascii=False).encode()


def _bytes_of(text: str) -> bytes:
    """Return the bytes that a text stands for: Latin-1, or UTF-8 where it has other characters."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
