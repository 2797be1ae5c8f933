"""Counts of one user: those before the mark go, those behind it stay, while the writer works.

In: a user, the mark, how far the writer has committed. Out: `user_counts_15m` with exactly what the
user's rows behind the mark give. Never: a count taken from a moment at which the writer is between
the table and the rollup.

ClickHouse merges counts of one quarter of an hour, those before the mark with those behind it, and
then nothing tells them apart. So what counts anything behind the mark is held against the rows, and
where they differ the user's counts are emptied and filled. A mutation takes what lies in the table
when it begins, and leaves what comes later: what is lacking then is a plain difference.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from cli.forgetting.rows import USER_COUNTS, counts_of
from cli.mutations import delete_rows
from contracts.forgetting import Mark, Marks, user_key
from contracts.tables import EVENTS
from runtime.clickhouse import AsyncClient
from runtime.failpoints import failpoint
from runtime.startup import StartupError

FAILPOINTS = ("forget.after_counts", "forget.after_emptied", "forget.after_filled")
"""Where a test kills the command among the counts of the user."""

_SELECT_COUNTED = f"""
SELECT toUnixTimestamp(bucket), event, sum(events) FROM {USER_COUNTS}
WHERE user_id = {{user_id:String}} AND kafka_partition = {{partition:UInt16}}
GROUP BY bucket, event
"""  # noqa: S608 - names of ours
_SELECT_ROWS = f"""
SELECT toUnixTimestamp({EVENTS.bucket}) AS bucket, event, count(), max(kafka_offset),
    max(toUnixTimestamp(received_at))
FROM {EVENTS.name}
WHERE kafka_partition = {{partition:UInt16}} AND kafka_offset >= {{first:UInt64}}
  AND user_id = {{user_id:String}}
GROUP BY bucket, event
"""  # noqa: S608 - names of ours
_LOOK_S = 0.5
# Only what the user does in these seconds is in doubt, and each name of an event for a quarter of
# an hour at most.
_WITHIN_S = 20 * 60.0

Key = tuple[int, str]
"""A quarter of an hour (seconds since 1970) and the name of an event."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the rows give for a key: how many they are, the last one's offset and receipt (s)."""

    events: int
    last_offset: int
    last_received_at: int


@dataclass(frozen=True, slots=True)
class UserCounts:
    """The counts of one user; `committed` tells how far the writer is in the user's partition."""

    client: AsyncClient
    log_id: str
    user_id: str
    mark: Mark
    committed: Callable[[], Awaitable[int]]

    async def forget(self) -> int:
        """Take the counts before the mark out; return how many rows there were.

        Raises:
            StartupError: the user goes on doing things too quickly to be counted.
            ClickHouseError, KafkaError: a server does not answer.
        """
        marks = Marks(self.log_id, {user_key(self.log_id, self.user_id): self.mark})
        gone = await delete_rows(self.client, USER_COUNTS, counts_of(marks))
        failpoint("forget.after_counts")
        deadline = time.monotonic() + _WITHIN_S
        while not await self._settle():
            if time.monotonic() > deadline:
                raise StartupError(
                    "The user goes on sending events so quickly that they could not be counted "
                    "anew. Run this again, or `track repair` when the writer is stopped."
                )
        return gone

    async def _settle(self) -> bool:
        """Do the next thing about what differs; tell whether nothing does, for certain.

        In this order: what is counted has its rows, which are in the table before, and all rows
        before the committed offset are counted.
        """
        committed = await self.committed()
        counted, given = await self._counted(), await self._given()
        certain = all(each.last_offset < committed for each in given.values())
        if not certain:
            await asyncio.sleep(_LOOK_S)
            return False
        if any(number > _events(given, key) for key, number in counted.items()):
            await delete_rows(self.client, USER_COUNTS, self._whole())
            failpoint("forget.after_emptied")
            return False
        lacking = {key: each for key, each in given.items() if each.events > counted.get(key, 0)}
        if lacking:
            await self._add(lacking, counted)
            failpoint("forget.after_filled")
        return not lacking

    async def _counted(self) -> dict[Key, int]:
        rows = await self.client.query(_SELECT_COUNTED, parameters=self._who)
        return {(bucket, event): number for bucket, event, number in rows.result_rows}

    async def _given(self) -> dict[Key, Given]:
        rows = await self.client.query(
            _SELECT_ROWS, parameters={**self._who, "first": self.mark.accepted}
        )
        return {(bucket, event): Given(*rest) for bucket, event, *rest in rows.result_rows}

    async def _add(self, lacking: Mapping[Key, Given], counted: Mapping[Key, int]) -> None:
        lines = [
            msgspec.json.encode(
                {
                    "user_id": self.user_id,
                    "bucket": key[0],
                    "event": key[1],
                    "kafka_partition": self.mark.partition,
                    "events": each.events - counted.get(key, 0),
                    "last_offset": each.last_offset,
                    "last_received_at": each.last_received_at,
                }
            )
            for key, each in lacking.items()
        ]
        await self.client.command(
            f"INSERT INTO {USER_COUNTS} FORMAT JSONEachRow",
            data=b"\n".join(lines),
            settings={"insert_deduplicate": 0},
        )

    @property
    def _who(self) -> dict[str, object]:
        return {"user_id": self.user_id, "partition": self.mark.partition}

    def _whole(self) -> str:
        """Return the condition on everything that is counted of the user."""
        everything = msgspec.structs.replace(self.mark, accepted=2**63)
        return counts_of(Marks(self.log_id, {user_key(self.log_id, self.user_id): everything}))


def _events(given: Mapping[Key, Given], key: Key) -> int:
    return given[key].events if key in given else 0
