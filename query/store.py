"""ClickHouse, asked: statements become rows, or a stream of what ClickHouse writes.

In: a `Statement`. Out: its rows, or bytes as they come. Never: a wait over five seconds for rows, a
write; an answer that was cut off taken for a whole one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from typing import TypeVar

import aiohttp
import msgspec

from query.statements.statement import Cost, Statement
from runtime.clickhouse import AsyncClient, ClickHouseError, connect
from runtime.settings import Settings

ANSWER_WITHIN_S = 5.0
STREAM_WITHIN_S = 3600
STREAMS_AT_ONCE = 2

_SETTINGS: Mapping[str, object] = {
    "readonly": 2,
    "max_memory_usage": 2_000_000_000,
    # Days before 1970 exist: the first of January 1970 lies in a week that began in 1969.
    "enable_extended_results_for_datetime_functions": 1,
    "output_format_json_quote_64bit_integers": 0,
    "date_time_output_format": "iso",
    # Nobody waits for the answer any more where the connection was closed.
    "cancel_http_readonly_queries_on_client_close": 1,
}
_FOR_ROWS: Mapping[str, object] = {
    **_SETTINGS,
    "max_execution_time": 4,
    "max_rows_to_read": 2_000_000_000,
    "max_threads": 2,
    # Answers are short: handing them to another thread cost more than writing them.
    "output_format_parallel_formatting": 0,
    # An error in the middle of an answer is an error, not a short answer.
    "wait_end_of_query": 1,
}
# A user's rows lie in a few granules: more threads, or a second pass over them, only cost.
_FOR_ROWS_OF_USER = {**_FOR_ROWS, "max_threads": 1, "optimize_move_to_prewhere": 0}
_FOR_STREAM = {
    **_SETTINGS,
    "max_execution_time": STREAM_WITHIN_S,
    # Streams are long: they leave a core to everybody else.
    "max_threads": 1,
    "output_format_parallel_formatting": 0,
}
_SELECT_TIMEZONES = "SELECT time_zone FROM system.time_zones"
_PROBE = "SELECT 1 FROM log LIMIT 1"

_log = logging.getLogger(__name__)
Row = TypeVar("Row", bound=msgspec.Struct)


class StoreUnavailableError(Exception):
    """ClickHouse is away, or has refused, or too many ask at once."""


class Excess(Enum):
    """What a question took too much of; the number is that of ClickHouse's error."""

    ROWS = 158
    TIME = 159
    MEMORY = 241


class ExcessiveError(Exception):
    """A question takes more than one may."""

    def __init__(self, excess: Excess) -> None:
        super().__init__(excess.name)
        self.excess = excess


class CutOffError(Exception):
    """A stream has ended before its end; what was sent of it must not look like a whole one."""


class UnknownTimezoneError(Exception):
    """ClickHouse's time zone database does not have the zone."""


class Store:
    """Questions over connections that are kept and made when needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connecting = asyncio.Lock()
        # Questions asked at the same time only share ClickHouse's cores, and with the inserts that
        # they ask about. So there is one of a kind at a time; long ones hold up no short one.
        # Waiting counts into the time of the answer.
        self._turns = {cost: asyncio.Lock() for cost in Cost}
        self._streams = asyncio.Semaphore(STREAMS_AT_ONCE)
        self._client: AsyncClient | None = None
        self._timezones: frozenset[str] = frozenset(("UTC",))

    async def ask(self, statement: Statement[Row]) -> list[Row]:
        """Return the rows of a statement.

        Raises:
            StoreUnavailableError, ExcessiveError, UnknownTimezoneError
        """
        settings = _FOR_ROWS_OF_USER if statement.cost is Cost.OF_USER else _FOR_ROWS
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                client = await self._connected_for(statement)
                async with self._turns[statement.cost]:
                    answer = await client.raw_query(
                        statement.sql,
                        parameters=dict(statement.parameters),
                        settings=dict(settings),
                        fmt="JSONCompactEachRow",
                    )
        except (ClickHouseError, TimeoutError) as error:
            raise _failure(error) from error
        return msgspec.json.Decoder(statement.row).decode_lines(answer)

    @asynccontextmanager
    async def stream(
        self, statement: Statement[Row], fmt: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give what ClickHouse writes in a format of its own, piece by piece.

        Raises:
            StoreUnavailableError, ExcessiveError, UnknownTimezoneError
            CutOffError: where a piece is asked for and does not come.
        """
        if self._streams.locked():
            raise StoreUnavailableError
        async with self._streams:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    client = await self._connected_for(statement)
                    source = await client.raw_stream(
                        statement.sql,
                        parameters=dict(statement.parameters),
                        settings=dict(_FOR_STREAM),
                        fmt=fmt,
                    )
            except (ClickHouseError, TimeoutError) as error:
                raise _failure(error) from error
            async with source as pieces:
                yield _whole(pieces)

    async def is_ready(self) -> bool:
        """Return whether ClickHouse answers and has the tables."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await (await self._connected()).raw_query(_PROBE)
        except (ClickHouseError, TimeoutError) as error:
            _log.warning("ClickHouse does not answer: %s", error or type(error).__name__)
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _connected_for(self, statement: Statement[Row]) -> AsyncClient:
        client = await self._connected()
        if statement.parameters.get("timezone", "UTC") not in self._timezones:
            raise UnknownTimezoneError
        return client

    async def _connected(self) -> AsyncClient:
        """Return the client; it can only be made while the server answers."""
        async with self._connecting:
            if self._client is None:
                client = await connect(self._settings, timeout_s=ANSWER_WITHIN_S)
                self._timezones = frozenset(
                    (await client.query(_SELECT_TIMEZONES)).result_columns[0]
                )
                self._client = client
            return self._client


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """Give a store and close it afterwards; ClickHouse need not answer yet."""
    store = Store(settings)
    try:
        yield store
    finally:
        await store.close()


async def _whole(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield piece
    except aiohttp.ClientError as error:
        _log.warning("ClickHouse has cut an answer off: %s", error)
        raise CutOffError from error


def _failure(error: ClickHouseError | TimeoutError) -> Exception:
    """Return what is raised instead."""
    code = getattr(error, "code", None)
    if code in {each.value for each in Excess}:
        return ExcessiveError(Excess(code))
    _log.warning("ClickHouse has not answered: %s", error or type(error).__name__)
    return StoreUnavailableError()
