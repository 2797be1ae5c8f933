"""Producers of their own: every event is sent twice, and counted once, wherever it was put."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.topics import Partitioner
from tests.compat.clients import PROGRAMS, Service, Told, require_counted_once, run_program
from tests.compat.events import pairs
from tests.compat.installed import java_command, python_with

PAIRS = 1_500
USERS = 40
MURMUR2 = {"partitioner": "murmur2_random"}


def send(service: Service, command: list[str], word: str, **options: Any) -> Told:
    """Send events and require that each is counted once."""
    events = pairs(word, PAIRS, USERS)
    given = {
        "kafka": service.settings.kafka,
        "topic": service.topic,
        "events": events,
        "times": 2,
        **options,
    }
    told = run_program(command, given)
    assert told.failed == {}
    require_counted_once(service, word, events)
    return told


def python(program: str) -> list[str]:
    return [python_with("kafka"), str(PROGRAMS / program)]


def test_aiokafka(service: Service) -> None:
    send(service, python("aiokafka_client.py"), "aiokafka")


def test_the_java_client(service: Service, tmp_path: Path) -> None:
    send(service, java_command(PROGRAMS / "JavaClient.java", tmp_path), "java")


def test_confluent_kafka_with_the_partitioner_of_java(service: Service) -> None:
    told = send(service, python("confluent_client.py"), "murmur2", settings=MURMUR2)
    assert misplaced(service, told) == set()


def test_confluent_kafka_as_it_is(service: Service) -> None:
    """Its own partitioner puts most users elsewhere; they are moved, and nothing is lost by it."""
    told = send(service, python("confluent_client.py"), "crc32", settings={})
    assert len(misplaced(service, told)) >= USERS // 4


def misplaced(service: Service, told: Told) -> set[str]:
    """Return the users whose records lie in another partition than theirs."""
    owner = Partitioner(service.settings.partitions)
    return {
        user
        for user, partition in told.more["partitions"].items()
        if owner.partition_of(user) != partition
    }


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_cloudevents(service: Service, mode: str) -> None:
    told = send(service, python("cloudevents_kafka.py"), f"cloudevents {mode}", mode=mode)
    assert told.more["left"] == 0
