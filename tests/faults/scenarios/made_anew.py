"""Topics and tables of another log, or set wrongly: each is refused with its sentence.

These are tried on a second pipeline, which is broken for good; the trial's own runs beside it, and
is judged as ever.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import subprocess
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer

from cli.migrate import run_migrations
from contracts.topics import Topics
from runtime.clickhouse import connect_sync
from runtime.kafka.admin import create_topics, open_admin, wait_for_leaders
from runtime.settings import Settings
from tests.benchmarks.programs import beside_python
from tests.environments import environment_of
from tests.faults.registry import scenario
from tests.faults.trial import Trial
from tests.topic_settings import set_topic

_REFUSED = 78
_ENDS_WITHIN_S = 60
_RUNS_S = 8.0
_PROCESSORS = ("sessionizer", "writer")
_EVENTS = 200


@scenario(events=500)
def all_topics_are_made_anew(trial: Trial) -> None:
    """All topics are made anew under an old ClickHouse: no processor begins."""
    _try(trial, lambda second: _remake(second, _every(second)), "has no log id", _PROCESSORS)


@scenario(events=500)
def topics_and_log_are_made_anew(trial: Trial) -> None:
    """All topics are made anew, and `track migrate` is asked to make a log: it refuses as well."""

    def remake(second: Settings) -> None:
        _remake(second, _every(second))
        code, said = _start(second, "migrate")
        trial.figures["migrate"] = said.strip()
        if code != _REFUSED:
            trial.found(f"track migrate ended with {code}, not {_REFUSED}: {said[-400:]}")

    _try(trial, remake, "has no log id", _PROCESSORS)


@scenario(events=500)
def the_tables_are_made_anew(trial: Trial) -> None:
    """ClickHouse is made anew under old topics: no processor begins."""

    def remake(second: Settings) -> None:
        client = connect_sync(second)
        client.command(f"DROP DATABASE {second.namespace} SYNC")
        client.close()

    _try(trial, remake, "has no database", _PROCESSORS)


@scenario(events=500)
def the_topic_of_events_is_made_anew(trial: Trial) -> None:
    """`track.events` alone is made anew: the sessionizer's position lies beyond its end."""
    _try(trial, lambda second: _remake(second, [_topics(second).events]), "", ("sessionizer",))


@scenario(events=500)
def the_topic_of_states_is_made_anew(trial: Trial) -> None:
    """`track.state` alone is made anew: there is no position to go on from."""
    _try(trial, lambda second: _remake(second, [_topics(second).state]), "", ("sessionizer",))


@scenario(events=500)
def a_topic_is_set_wrongly(trial: Trial) -> None:
    """`track.events` has another kind of timestamps: every service refuses to start."""

    def set_wrongly(second: Settings) -> None:
        timed_by_producers = {"message.timestamp.type": "CreateTime"}
        asyncio.run(set_topic(second.kafka_servers, _topics(second).events, timed_by_producers))

    services = (*_PROCESSORS, "ingest")
    _try(trial, set_wrongly, "message.timestamp.type", services)


def _try(
    trial: Trial, break_: Callable[[Settings], None], words: str, services: Sequence[str]
) -> None:
    """Run a second pipeline for a while, break it, and see that services refuse with words."""
    second = dataclasses.replace(trial.settings, namespace=f"f_{secrets.token_hex(5)}")
    asyncio.run(run_migrations(second))
    try:
        asyncio.run(_produce(second))
        _run_for_a_while(second)
        break_(second)
        for service in services:
            code, said = _start(second, service)
            trial.figures[service] = said.strip().splitlines()[-1] if said.strip() else ""
            if code != _REFUSED and "track position" not in said:
                trial.found(f"{service} ended with {code}, not {_REFUSED}: {said[-400:]}")
            elif words not in said:
                trial.found(f"{service} does not say {words!r}: {said[-400:]}")
    finally:
        client = connect_sync(second, database="default")
        client.command(f"DROP DATABASE IF EXISTS {second.namespace}")
        client.close()


async def _produce(second: Settings) -> None:
    async with AIOKafkaProducer(bootstrap_servers=second.kafka) as producer:
        for number in range(_EVENTS):
            user = f"u{number % 20}"
            value = f'{{"event":"play","user_id":"{user}","event_id":"{number}"}}'
            await producer.send(_topics(second).events, value.encode(), key=user.encode())


def _run_for_a_while(second: Settings) -> None:
    """Let both processors work for some seconds, and end them."""
    running = [
        subprocess.Popen(
            [beside_python("track"), name],
            env=environment_of(second),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in _PROCESSORS
    ]
    for each in running:
        try:
            each.wait(_RUNS_S)
        except subprocess.TimeoutExpired:
            each.terminate()
    for each in running:
        each.wait(_ENDS_WITHIN_S)


def _start(second: Settings, service: str) -> tuple[int | None, str]:
    """Start a service; return how it ended (None: it had to be ended) and what it said."""
    process = subprocess.Popen(
        [beside_python("track"), service],
        env=environment_of(second),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        return process.wait(_ENDS_WITHIN_S), process.communicate()[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[1]


def _topics(second: Settings) -> Topics:
    return Topics.of(second.namespace)


def _every(second: Settings) -> list[str]:
    return [*_topics(second).partitioned, *_topics(second).single]


def _remake(second: Settings, names: Sequence[str]) -> None:
    asyncio.run(_delete_and_create(second, names))


async def _delete_and_create(second: Settings, names: Sequence[str]) -> None:
    async with open_admin(second.kafka_servers) as admin:
        await admin.delete_topics(list(names))
        await asyncio.sleep(1)
        await create_topics(admin, second, names)
        await wait_for_leaders(admin, second)
