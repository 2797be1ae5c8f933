"""The rejections that ClickHouse keeps: `rejected_events`, as they are asked for.

In: a client, filters or a place. Out: rejections, a page at a time. Never: a change; text of a
question in SQL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.rejected.rejection import Rejection
from contracts.events import Reason
from contracts.replays import Place
from contracts.rows import content_of, headers_of
from runtime.clickhouse import AsyncClient

_PAGE = 200  # rejections with 64 KiB each

_COLUMNS = """
SELECT log_topic, log_partition, log_offset, reason, message, source,
    toUnixTimestamp64Milli(received_at), key, key_encoding, if({values:Bool}, value, ''),
    value_encoding, value_bytes, value_sha256, if({values:Bool}, headers, '[]'), whole
FROM rejected_events
"""
_SELECT_ONE = f"""{_COLUMNS}
WHERE log_topic = {{topic:String}} AND log_partition = {{partition:UInt16}}
  AND log_offset = {{offset:UInt64}}
LIMIT 1
"""
_FILTERED = """
WHERE (empty({reasons:Array(String)}) OR has({reasons:Array(String)}, reason))
  AND ({any_source:Bool} OR source = {source:String})
  AND ({any_key:Bool} OR (key = {key:String} AND key_encoding = 'utf-8'))
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
_BEYOND_MS = 4_102_444_800_000  # the year 2100


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
        parameters = {
            "topic": f"{self.namespace}.{place.topic}",
            "partition": place.partition,
            "offset": place.offset,
            "values": True,
        }
        rows = (await self.client.query(_SELECT_ONE, parameters=parameters)).result_rows
        return self._rejection(rows[0]) if rows else None

    async def newest_first(
        self, filters: Filters, *, before: Rejection | None = None, values: bool = False
    ) -> AsyncIterator[Rejection]:
        """Give what the filters let through, beginning below `before`."""
        last = before
        while True:
            start = _start(self.namespace, last, _BEYOND_MS)
            page = await self._page(_NEWEST_FIRST, filters, start, values=values)
            for last in page:
                yield last
            if len(page) < _PAGE:
                return

    async def oldest_first(self, filters: Filters) -> AsyncIterator[list[Rejection]]:
        """Give what the filters let through with the values, in pages, in order of arrival."""
        last = None
        while page := await self._page(
            _OLDEST_FIRST, filters, _start(self.namespace, last, -1), values=True
        ):
            yield page
            last = page[-1]

    async def _page(
        self, order: str, filters: Filters, start: Mapping[str, Any], *, values: bool
    ) -> list[Rejection]:
        parameters = {**filters.parameters, **start, "values": values, "limit": _PAGE}
        rows = await self.client.query(_COLUMNS + _FILTERED + order, parameters=parameters)
        return [self._rejection(row) for row in rows.result_rows]

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


def _start(namespace: str, last: Rejection | None, beyond: int) -> dict[str, Any]:
    """Return what binds the beginning of a page: behind a rejection, or at the end of time."""
    if last is None:
        return {"at": beyond, "topic": "", "partition": 0, "offset": 0}
    place = last.place
    return {
        "at": last.received_at,
        "topic": f"{namespace}.{place.topic}",
        "partition": place.partition,
        "offset": place.offset,
    }
