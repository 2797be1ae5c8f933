"""What is counted: the rollups of ClickHouse, asked.

In: a `Question`. Out: counts and session sums by period, oldest first. Never: text of a question
inside SQL (everything is bound), a wait over five seconds, a write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import TypeVar

import msgspec

from query.parameters import FIRST_DAY, LAST_DAY, Grouping, Question
from runtime.clickhouse import AsyncClient, ClickHouseError, connect
from runtime.settings import Settings

ANSWER_WITHIN_S = 5.0

_QUERY_SETTINGS = {
    "max_execution_time": 4,
    "max_threads": 2,
    # Answers are short: handing them to another thread cost more than writing them.
    "output_format_parallel_formatting": 0,
    "max_memory_usage": 2_000_000_000,
    "readonly": 2,
    # Days before 1970 exist: the first of January 1970 lies in a week that began in 1969.
    "enable_extended_results_for_datetime_functions": 1,
    "output_format_json_quote_64bit_integers": 0,
    # An error in the middle of an answer is an error, not a short answer.
    "wait_end_of_query": 1,
}

# The first day of the period that a day lies in; weeks begin on Sunday (mode 0).
_PERIOD = {
    Grouping.DAY: "{day}",
    Grouping.WEEK: "toStartOfWeek({day}, 0)",
    Grouping.MONTH: "toStartOfMonth({day})",
}
_BUCKET_DAY = "toDate32(bucket, {timezone:String})"
_BUCKET_UTC_DAY = "toDate32(toDate(bucket))"
_SESSION_DAY = "toDate32(started_at, {timezone:String})"

_COUNT_EVENTS = """
SELECT {period} AS period, event, sum(events) AS n
FROM event_counts_15m
WHERE bucket >= toDateTime({{begin:UInt32}}, 'UTC') AND bucket < toDateTime({{end:UInt32}}, 'UTC')
GROUP BY period, event
ORDER BY period, event
"""
# Days in UTC are kept by the projection `days`: the condition must be in its terms to use it.
_COUNT_EVENTS_BY_UTC_DAYS = """
SELECT {period} AS period, event, sum(events) AS n
FROM event_counts_15m
WHERE toDate(bucket) BETWEEN {{first:Date}} AND {{last:Date}}
GROUP BY period, event
ORDER BY period, event
"""
_COUNT_EVENTS_OF_USER = """
SELECT {period} AS period, event, sum(events) AS n
FROM user_counts_15m
WHERE user_id = {{user_id:String}}
    AND bucket >= toDateTime({{begin:UInt32}}, 'UTC') AND bucket < toDateTime({{end:UInt32}}, 'UTC')
GROUP BY period, event
ORDER BY period, event
"""
_SUM_SESSIONS = """
SELECT {period} AS period, sum(sessions) AS n, sum(session_stats_15m.duration_ms) AS duration_ms
FROM session_stats_15m
WHERE bucket >= toDateTime({{begin:UInt32}}, 'UTC') AND bucket < toDateTime({{end:UInt32}}, 'UTC')
GROUP BY period
ORDER BY period
"""
_SUM_SESSIONS_OF_USER = """
SELECT {period} AS period, count() AS n, sum(sessions.duration_ms) AS duration_ms
FROM sessions
WHERE user_id = {{user_id:String}}
    AND started_at >= toDateTime64({{begin:UInt32}}, 3, 'UTC')
    AND started_at < toDateTime64({{end:UInt32}}, 3, 'UTC')
GROUP BY period
ORDER BY period
"""
# A user's rows lie in a few granules: more threads, or a second pass over them, only cost.
_SETTINGS_FOR_USER = {**_QUERY_SETTINGS, "max_threads": 1, "optimize_move_to_prewhere": 0}
_SELECT_TIMEZONES = "SELECT time_zone FROM system.time_zones"
_PROBE = "SELECT 1 FROM log LIMIT 1"

_log = logging.getLogger(__name__)
Row = TypeVar("Row")


class EventCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many events of a name lie in a period."""

    period: date
    event: str
    events: int


class SessionSum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many sessions began in a period, and how long they took together."""

    period: date
    sessions: int
    duration_ms: int


class StoreUnavailableError(Exception):
    """ClickHouse is away, too slow, or has refused."""


class UnknownTimezoneError(Exception):
    """ClickHouse's time zone database does not have the zone."""


class Store:
    """The questions that can be asked, over connections that are kept and made when needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connecting = asyncio.Lock()
        # Questions asked at the same time only share ClickHouse's cores, and with the inserts that
        # they ask about. So there is one at a time; the long ones, about all users, hold up no
        # short one. Waiting counts into the time of the answer.
        self._turn_of_all, self._turn_of_user = asyncio.Lock(), asyncio.Lock()
        self._client: AsyncClient | None = None
        self._timezones: frozenset[str] = frozenset(("UTC",))

    async def count_events(self, question: Question) -> list[EventCount]:
        """Return the counts of events by period and name, in code-point order within a period.

        Raises:
            StoreUnavailableError, UnknownTimezoneError
        """
        if question.user_id is not None:
            statement = _statement(_COUNT_EVENTS_OF_USER, _BUCKET_DAY, question)
        elif question.timezone == "UTC":
            if question.end < FIRST_DAY or question.start > LAST_DAY:
                return []
            statement = _statement(_COUNT_EVENTS_BY_UTC_DAYS, _BUCKET_UTC_DAY, question)
        else:
            statement = _statement(_COUNT_EVENTS, _BUCKET_DAY, question)
        return await self._ask(statement, question, EventCount)

    async def sum_sessions(self, question: Question) -> list[SessionSum]:
        """Return number and durations of the sessions by the period in which they began.

        Raises:
            StoreUnavailableError, UnknownTimezoneError
        """
        if question.user_id is None:
            statement = _statement(_SUM_SESSIONS, _BUCKET_DAY, question)
        else:
            statement = _statement(_SUM_SESSIONS_OF_USER, _SESSION_DAY, question)
        return await self._ask(statement, question, SessionSum)

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

    async def _ask(self, statement: str, question: Question, row: type[Row]) -> list[Row]:
        if question.user_id is None:
            turn, settings = self._turn_of_all, _QUERY_SETTINGS
        else:
            turn, settings = self._turn_of_user, _SETTINGS_FOR_USER
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                client = await self._connected()
                if question.timezone not in self._timezones:
                    raise UnknownTimezoneError
                async with turn:
                    answer = await client.raw_query(
                        statement,
                        parameters=_parameters(question),
                        settings=settings,
                        fmt="JSONCompactEachRow",
                    )
        except (ClickHouseError, TimeoutError) as error:
            _log.warning("ClickHouse has not answered: %s", error or type(error).__name__)
            raise StoreUnavailableError from error
        return msgspec.json.Decoder(row).decode_lines(answer)

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


def _statement(template: str, day: str, question: Question) -> str:
    return template.format(period=_PERIOD[question.grouping].format(day=day))


def _parameters(question: Question) -> dict[str, object]:
    parameters: dict[str, object] = {
        "timezone": question.timezone,
        "begin": question.begins_at,
        "end": question.ends_before,
        "first": max(question.start, FIRST_DAY),
        "last": min(question.end, LAST_DAY),
    }
    if question.user_id is not None:
        parameters["user_id"] = question.user_id
    return parameters
