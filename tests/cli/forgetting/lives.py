"""What users do in these tests, and the marks that were made of them.

In: users. Out: events, values that are none, the sessions that log and marks imply. Never: Faust,
ClickHouse.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cli.forgetting.marks import read_marks
from contracts.forgetting import Mark
from contracts.rows import AcceptedRow, RejectedRow, SessionRow
from contracts.timestamps import format_timestamp
from contracts.topics import Partitioner
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Partition, Pipeline
from tests.cli.forgetting.living import Living
from tests.processors.sessionizer.running import read_topic
from tests.processors.writer.pipeline import NOW_MS

MINUTE_MS = 60_000


def event(name: str, user_id: str, minutes: float, **more: Any) -> dict[str, Any]:
    """Return an event of so many minutes ago."""
    at = format_timestamp(NOW_MS - int(minutes * MINUTE_MS))
    return {"event": name, "user_id": user_id, "timestamp": at, **more}


def life_of(user_id: str) -> list[dict[str, Any]]:
    """Return what a user does: a session, an open play, a waiting stop, something else."""
    return [
        event("play", user_id, 50, metadata={"song": user_id}),
        event("stop", user_id, 47),
        event("buy", user_id, 46, event_id=f"buy of {user_id}"),
        event("buy", user_id, 45),
        event("play", user_id, 40),
        event("stop", user_id, 44),
    ]


def bad_of(user_id: str) -> list[bytes]:
    """Return what names a user and is no event."""
    return [
        json.dumps({"event": "date", "user_id": user_id}).encode(),
        json.dumps({"event": 17, "user_id": user_id}, ensure_ascii=False).encode(),
    ]


def live(living: Living, *user_ids: str) -> None:
    """Let users do all of it, and wait until it is in the tables."""
    for user_id in user_ids:
        living.send(*life_of(user_id))
        living.send(*bad_of(user_id))
        living.send(b"\xff nothing to be read", key=user_id.encode())
    living.wait_until_done()


def mark_of(living: Living, user_id: str) -> Mark:
    """Return the mark of a user who is forgotten."""
    mark = asyncio.run(read_marks(living.settings, living.log.id)).of(user_id)
    assert mark is not None
    return mark


class Implied:
    """The sessions that log and mark imply for a user who was forgotten and came back."""

    def __init__(self, living: Living, user_id: str) -> None:
        self.session_ids: set[str] = set()
        self._user_id, self._mark = user_id, mark_of(living, user_id)
        home = self._mark.partition
        partitioner = Partitioner(living.settings.partitions)
        pipeline = Pipeline(
            living.log.id, living.topics.events, partitioner, PairingRules(), 1_000_000
        )
        partition, is_forgotten = Partition(home, pipeline), False
        for record in asyncio.run(read_topic(living.settings, living.topics.events))[home]:
            if not is_forgotten and record.offset >= self._mark.offsets[home]:
                partition.take_changes()
                partition.restore(user_id, None)
                is_forgotten = True
            partition.step(record, self)

    def accept(self, user: bytes, row: AcceptedRow) -> None:
        """Pass over an event."""

    def complete(self, user: bytes, row: SessionRow) -> None:
        """Note a session of the user behind the mark."""
        if (
            row.user_id == self._user_id
            and row.log_offset >= self._mark.offsets[self._mark.partition]
        ):
            self.session_ids.add(row.session_id)

    def reject(self, key: bytes | None, row: RejectedRow) -> None:
        """Pass over what is no event."""

    def readdress(
        self, partition: int, user: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """Pass over what was moved: it is in the log once more."""
