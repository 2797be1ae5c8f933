"""The local Kafka and ClickHouse of a stack's folder, as far as no others are named.

In: the settings, the folder. Out: what is to be started, and the addresses. Never: a server started
here; a server that the environment names replaced.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from cli.supervisor import Say
from deploy.local import downloads
from deploy.local.clickhouse import (
    ANALYST,
    EXPORTER,
    USERS,
    Ports,
    analyst_limits,
    clickhouse_program,
    keep_passwords,
    user_urls,
)
from deploy.local.clickhouse_process import NOT_CONFINED
from deploy.local.kafka import kafka_program
from deploy.local.landlock import landlock_version
from deploy.local.processes import Program, ServerError
from runtime.settings import Settings

_MOST_LOCAL_PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class LocalServers:
    """What is to be started, and where ClickHouse is found then.

    Attributes:
        programs: the servers that are to be started.
        clickhouse: URL of each user; of a ClickHouse that is not ours all are the same.
        analyst: URL for a person with questions; empty for a ClickHouse that is not ours.
        exporter: URL of the user who reads events for an export; empty likewise.
        partitions: how many partitions the topics have.
    """

    programs: tuple[Program, ...]
    clickhouse: Mapping[str, str]
    analyst: str
    exporter: str
    partitions: int


def local_servers(settings: Settings, home: Path, say: Say) -> LocalServers:
    """Get the servers' files and decide on programs and addresses.

    Raises:
        ServerError: the files could not be had.
    """
    programs: list[Program] = []
    clickhouse, analyst, exporter = dict.fromkeys(USERS, settings.clickhouse), "", ""
    partitions = settings.partitions
    try:
        downloads.swagger_ui(say)
    except ServerError as error:
        say(f"[yellow]![/] The page /docs will not be there: {escape(str(error))}")
    if not settings.kafka:
        jars = downloads.kafka_jars(say)
        folder, log = home / "kafka", home / "logs" / "kafka.log"
        if not os.environ.get("TRACK_PARTITIONS"):
            partitions = local_partitions(folder, os.cpu_count() or 1)
        programs.append(kafka_program(folder, settings.kafka_port, log, jars))
    if not settings.clickhouse:
        library = downloads.clickhouse_library(say)
        folder, log = home / "clickhouse", home / "logs" / "clickhouse.log"
        ports = Ports(settings.clickhouse_port, settings.clickhouse_native_port)
        programs.append(
            clickhouse_program(
                folder,
                ports,
                settings.namespace,
                log=log,
                library=library,
                limits=analyst_limits(settings),
            )
        )
        clickhouse = user_urls(settings.clickhouse_port, keep_passwords(folder))
        analyst, exporter = clickhouse[ANALYST], clickhouse[EXPORTER]
        if not landlock_version():
            say(f"[yellow]![/] {NOT_CONFINED}")
    return LocalServers(tuple(programs), clickhouse, analyst, exporter, partitions)


def local_ports(settings: Settings) -> Mapping[str, int]:
    """Return the ports of the servers that are to be started, by their settings."""
    ports = {}
    if not settings.kafka:
        ports["TRACK_KAFKA_PORT"] = settings.kafka_port
    if not settings.clickhouse:
        ports["TRACK_CLICKHOUSE_PORT"] = settings.clickhouse_port
        ports["TRACK_CLICKHOUSE_NATIVE_PORT"] = settings.clickhouse_native_port
    return ports


def local_partitions(kafka: Path, cores: int) -> int:
    """Return how many partitions the topics of the local Kafka have: one a core, at most four.

    Each partition has transactions and inserts of its own, which on few cores cost more than they
    give. The number is chosen when Kafka's folder is made, and kept there: topics keep it too. A
    folder that keeps none was made when it was always four.
    """
    note = kafka / "partitions"
    if not note.exists():
        chosen = _MOST_LOCAL_PARTITIONS if kafka.exists() else cores
        kafka.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{min(_MOST_LOCAL_PARTITIONS, chosen)}\n")
    return int(note.read_text())
