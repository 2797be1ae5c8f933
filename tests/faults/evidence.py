"""The evidence of a trial: what log, tables, answers, offsets and processes show at its end.

In: a trial whose load has ended, everything healed. Out: the oracle over the whole log, and
`Evidence`. Never: a wait without an end: as long as something moves it is waited for, and when
nothing moves for a minute, things are judged as they are.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from datetime import date
from typing import Any
from urllib.parse import urlencode

from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.expected import Question
from cli.http_connection import HTTPConnection
from cli.log_reader import LogReader
from cli.verify import compare
from contracts.groups import sessionizer_group, writer_group
from contracts.tables import TABLE_OF_TOPIC
from contracts.topics import Partitioner, Topics
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Pipeline
from processors.writer.standings import read_commits
from runtime.clickhouse import Client, connect_sync
from runtime.kafka.admin import open_admin
from runtime.settings import Settings
from runtime.startup import require_log
from tests.faults.judgement import Answered, Evidence
from tests.faults.ledger import Ledger, Marks
from tests.faults.oracle import Oracle, Session

_STILL_FOR_S = 60.0
_POLL_S = 0.5
_USERS_ASKED = 20
_ALL_DAYS = (date(1970, 1, 1), date(2100, 1, 1))

_SELECT_COUNTS = """
SELECT
    (SELECT count() FROM events),
    (SELECT count() FROM sessions),
    (SELECT countIf(kafka_topic = {rejected:String}) FROM rejected_events),
    (SELECT countIf(kafka_topic != {rejected:String}) FROM rejected_events)
"""
_SELECT_EVENTS = "SELECT user_id, event_id FROM events"
_SELECT_SESSIONS = """
SELECT session_id, user_id, toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(ended_at),
    duration_ms
FROM sessions
"""
_SELECT_HIGHEST = """
SELECT kafka_partition, max(kafka_offset) FROM {table:Identifier}
WHERE kafka_topic = {topic:String} GROUP BY kafka_partition
"""
_SELECT_HIGHEST_OF_ALL = """
SELECT kafka_partition, max(kafka_offset) FROM {table:Identifier} GROUP BY kafka_partition
"""


async def gather_evidence(
    settings: Settings,
    ledger: Ledger,
    *,
    base_url: str,
    refused: Iterable[str] = (),
) -> tuple[Oracle, Evidence]:
    """Wait until everything is through, and look at all of it."""
    oracle = Oracle(await pipeline_of(settings), f"{ledger.word}-", tuple(refused))
    client = connect_sync(settings)
    topic = Topics.of(settings.namespace).events
    try:
        async with LogReader(settings.kafka_servers, topic, settings.partitions) as log:
            records = await _wait_until_through(settings, client, oracle, log)
        counts = _counts(client, settings)
        evidence = Evidence(
            stored=_stored(client, ledger),
            sessions=_sessions(client),
            rejected=counts[2],
            put_aside=counts[3],
            records=records,
            answers=await _answers(base_url, oracle, ledger),
            lags=await _lags(settings, client, oracle),
            verified=[
                difference
                async for compared in compare(settings)
                for difference in compared.differences
            ],
        )
    finally:
        client.close()
    return oracle, evidence


async def pipeline_of(settings: Settings) -> Pipeline:
    """Return the rules that the sessionizers of these settings work by."""
    log = await require_log(settings)
    return Pipeline(
        log.id,
        Topics.of(settings.namespace).events,
        Partitioner(log.partitions),
        PairingRules(log.opens, log.closes, settings.waiting_stop_ms, settings.open_play_ms),
        settings.duplicate_window,
    )


async def _wait_until_through(
    settings: Settings, client: Client, oracle: Oracle, log: LogReader
) -> int:
    """Wait until the tables hold what the log implies; return how many records it has."""
    records, seen, still_since = 0, (0, 0, 0, 0, 0), time.monotonic()
    while True:
        records += await log.read_to_end(oracle.take)
        counts = await asyncio.to_thread(_counts, client, settings)
        wanted = (oracle.stored, len(oracle.sessions_by_id), oracle.rejected, oracle.put_aside)
        is_through = counts == wanted and await log.has_reached(await _ends(settings))
        if is_through and not any((await _lags(settings, client, oracle)).values()):
            return records
        if (*counts, records) != seen:
            seen, still_since = (*counts, records), time.monotonic()
        if time.monotonic() - still_since > _STILL_FOR_S:
            return records
        await asyncio.sleep(_POLL_S)


async def _ends(settings: Settings) -> dict[TopicPartition, int]:
    """Return the ends of the log, what an open transaction holds back included."""
    topic = Topics.of(settings.namespace).events
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka) as consumer:
        places = [TopicPartition(topic, number) for number in range(settings.partitions)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        return ends


def _counts(client: Client, settings: Settings) -> tuple[int, int, int, int]:
    parameters = {"rejected": Topics.of(settings.namespace).rejected}
    events, sessions, rejected, put_aside = client.query(_SELECT_COUNTS, parameters).first_row
    return events, sessions, rejected, put_aside


def _stored(client: Client, ledger: Ledger) -> Marks:
    marks = Marks(ledger)
    with client.query_rows_stream(_SELECT_EVENTS) as rows:
        for user_id, event_id in rows:
            marks.mark(user_id, event_id)
    return marks


def _sessions(client: Client) -> list[tuple[str, Session]]:
    with client.query_rows_stream(_SELECT_SESSIONS) as rows:
        return [(session_id, Session(*rest)) for session_id, *rest in rows]


# --- the answers ----------------------------------------------------------------------------------


async def _answers(base_url: str, oracle: Oracle, ledger: Ledger) -> list[Answered]:
    """Ask for all users by day, and for some single ones."""
    users = dict.fromkeys(user for lane in ledger.lanes for user in lane.users[:200])
    asked = [None, *(ledger.user_id(user) for user in list(users)[:_USERS_ASKED])]
    answers = []
    async with HTTPConnection(base_url, 30) as connection:
        for user_id in asked:
            question = Question(*_ALL_DAYS, user_id=user_id)
            for path, expect in (("/metrics", oracle.metrics), ("/sessions", oracle.sessions)):
                url = f"{path}?{_parameters(question)}"
                answer = await connection.request("GET", url)
                data: Any = answer.status
                if answer.status == 200:
                    data = json.loads(answer.body)["data"]
                answers.append(Answered(url, data, expect(question)))
    return answers


def _parameters(question: Question) -> str:
    parameters = {"start_date": str(question.start), "end_date": str(question.end)}
    if question.user_id is not None:
        parameters["user_id"] = question.user_id
    return urlencode(parameters)


# --- the lag --------------------------------------------------------------------------------------


async def _lags(settings: Settings, client: Client, oracle: Oracle) -> dict[str, int]:
    """Return how many offsets lie between each group's position and the last record there is.

    Markers of transactions behind the last record are no records: no group ever commits them.
    """
    topics = Topics.of(settings.namespace)
    async with open_admin(settings.kafka_servers) as admin:
        hints = await admin.list_consumer_group_offsets(sessionizer_group(settings.namespace))
    lags = {}
    for partition, end in oracle.ends.items():
        hint = hints.get(TopicPartition(topics.events, partition))
        lags[f"{topics.events}/{partition}"] = end - (0 if hint is None else hint.offset)
    for name, base in TABLE_OF_TOPIC.items():
        topic = getattr(topics, name)
        statement = _SELECT_HIGHEST if base.names_topic else _SELECT_HIGHEST_OF_ALL
        parameters = {"table": base.name, "topic": topic}
        highest = dict(client.query(statement, parameters).result_rows)
        places = [TopicPartition(topic, number) for number in range(settings.partitions)]
        commits = await read_commits(
            settings.kafka_servers, writer_group(settings.namespace), places
        )
        for place, (offset, _) in commits.items():
            if place.partition in highest:
                lag = highest[place.partition] + 1 - (offset or 0)
                lags[f"{topic}/{place.partition}"] = max(0, lag)
    return lags
