"""The rejections that ClickHouse keeps: `rejected_events`, as they are asked for.

In: a client, filters or a place. Out: rejections, a page at a time. Never: a change; text of a
question in SQL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from cli.rejected.rejection import Rejection
from contracts.events import Reason
from contracts.replays import Place
from contracts.rows import content_of, headers_of
from runtime.clickhouse import AsyncClient

_PAGE = 500  # of 64 KiB each at most

# A list has no use for values of 64 KiB, and does not read them.
_WITHOUT_VALUES = """
SELECT log_topic, log_partition, log_offset, reason, message, source,
    toUnixTimestamp64Milli(received_at), key, key_encoding,
    '', value_encoding, value_bytes, value_sha256, '[]', whole
FROM rejected_events
"""
_WITH_VALUES = """
SELECT log_topic, log_partition, log_offset, reason, message, source,
    toUnixTimestamp64Milli(received_at), key, key_encoding,
    value, value_encoding, value_bytes, value_sha256, headers, whole
FROM rejected_events
"""
_OF_A_PLACE = """
WHERE log_topic = {topic:String} AND log_partition = {partition:UInt16}
  AND log_offset = {offset:UInt64}
LIMIT 1
"""
_FILTERED = """
WHERE (empty({reasons:Array(String)}) OR has({reasons:Array(String)}, reason))
  AND ({any_source:Bool} OR source = {source:String})
  AND ({any_key:Bool} OR (key = {key:String} AND key_encoding = 'utf-8'))
  AND startsWith(log_topic, {prefix:String})
  AND received_at >= fromUnixTimestamp64Milli({since:Int64})
  AND received_at < fromUnixTimestamp64Milli({until:Int64})
"""
# Where a page begins: `at` alone lets ClickHouse skip what it need not read.
_NEWEST_FIRST = """
  AND received_at <= fromUnixTimestamp64Milli({at:Int64})
  AND (toUnixTimestamp64Milli(received_at), toString(log_topic), log_partition, log_offset)
    < ({at:Int64}, {topic:String}, {partition:UInt16}, {offset:UInt64})
ORDER BY received_at DESC, toString(log_topic) DESC, log_partition DESC, log_offset DESC
LIMIT {limit:UInt32}
"""
_OLDEST_FIRST = """
  AND received_at >= fromUnixTimestamp64Milli({at:Int64})
  AND (toUnixTimestamp64Milli(received_at), toString(log_topic), log_partition, log_offset)
    > ({at:Int64}, {topic:String}, {partition:UInt16}, {offset:UInt64})
ORDER BY received_at, toString(log_topic), log_partition, log_offset
LIMIT {limit:UInt32}
"""
_BEFORE_MS, _BEYOND_MS = -1, 4_102_444_800_000  # before 1970, and the year 2100


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rejections are meant; received from `since` to before `until`, ms since 1970."""

    reasons: Sequence[Reason] = ()
    source: str | None = None
    key: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the statement binds."""
        return {
            "reasons": [str(each) for each in self.reasons],
            "any_source": self.source is None,
            "source": self.source or "",
            "any_key": self.key is None,
            "key": self.key or "",
            "since": self.since or 0,
            "until": _BEYOND_MS if self.until is None else self.until,
        }


@dataclass(frozen=True, slots=True)
class Rejections:
    """The rejections of one pipeline."""

    client: AsyncClient
    namespace: str

    async def find(self, place: Place) -> Rejection | None:
        """Return the rejection of a record, whole; None if none is kept.

        Raises:
            ClickHouseError: the server does not answer.
        """
        select = _WITH_VALUES + _OF_A_PLACE
        rows = (await self.client.query(select, self._names(place))).result_rows
        return self._rejection(rows[0]) if rows else None

    async def newest_first(
        self, filters: Filters, last: Rejection | None = None
    ) -> AsyncIterator[Rejection]:
        """Give what the filters let through without the values, beginning below `last`."""
        select = _WITHOUT_VALUES + _FILTERED + _NEWEST_FIRST
        while page := await self._page(select, filters, last, _BEYOND_MS):
            for each in page:
                yield each
            last = page[-1]

    async def oldest_first(self, filters: Filters) -> AsyncIterator[list[Rejection]]:
        """Give what the filters let through with the values, in pages, in order of arrival."""
        select, last = _WITH_VALUES + _FILTERED + _OLDEST_FIRST, None
        while page := await self._page(select, filters, last, _BEFORE_MS):
            yield page
            last = page[-1]

    async def _page(
        self, select: str, filters: Filters, last: Rejection | None, at: int
    ) -> list[Rejection]:
        """Return the page behind a rejection, or the first one, which begins at a moment."""
        start = {"at": at, "topic": "", "partition": 0, "offset": 0}
        if last is not None:
            start = {"at": last.received_at, **self._names(last.place)}
        bound = {**filters.parameters, **start, "prefix": f"{self.namespace}.", "limit": _PAGE}
        rows = await self.client.query(select, bound)
        return [self._rejection(row) for row in rows.result_rows]

    def _names(self, place: Place) -> dict[str, Any]:
        topic = f"{self.namespace}.{place.topic}"
        return {"topic": topic, "partition": place.partition, "offset": place.offset}

    def _rejection(self, row: Sequence[Any]) -> Rejection:
        topic, partition, offset, reason, message, source, at, key, key_encoding, *rest = row
        value, value_encoding, value_bytes, value_sha256, headers, whole = rest
        return Rejection(
            place=Place(topic.removeprefix(f"{self.namespace}."), partition, offset),
            reason=Reason(reason),
            message=message,
            source=source,
            received_at=at,
            key=content_of(key, key_encoding),
            value=content_of(value, value_encoding),
            value_bytes=value_bytes,
            value_sha256=value_sha256,
            headers=headers_of(headers),
            whole=whole,
        )
