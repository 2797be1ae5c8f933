"""Where the running stack is found: a file in its folder, written by `track up`.

In: the stack's folder (`TRACK_HOME`). Out: the addresses of its parts, as long as it runs. Never:
an address of a stack that has ended.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.clickhouse import write_secret
from deploy.local.processes import started_at
from runtime.kafka.servers import KafkaServers
from runtime.settings import Settings

_FILE = "stack.json"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack.

    Attributes:
        pid: the process that supervises it.
        started: what tells that process from a later one of the same number.
        http: base URL of the HTTP services.
        kafka: bootstrap servers.
        clickhouse: URL of the user who may do everything that commands do, with its password.
        analyst: URL for a person with questions; empty for a ClickHouse that is not ours.
        exporter: URL of the user who reads events for an export; empty likewise.
        namespace: first word of its topics, name of its database.
        partitions: partitions of each topic.
        kafka_security, kafka_user, kafka_password, kafka_ca: how one enters Kafka.
        certificate: file of the certificate that HTTP is served with; empty for plain HTTP.
    """

    pid: int
    started: str | None
    http: str
    kafka: str
    clickhouse: str
    analyst: str
    namespace: str
    partitions: int
    kafka_security: str = "PLAINTEXT"
    kafka_user: str = ""
    kafka_password: str = field(default="", repr=False)
    kafka_ca: str = ""
    certificate: str = ""
    exporter: str = field(default="", repr=False)

    @property
    def kafka_servers(self) -> KafkaServers:
        """Its Kafka, and how one enters."""
        return KafkaServers(
            self.kafka, self.kafka_security, self.kafka_user, self.kafka_password, self.kafka_ca
        )


def find_stack(home: Path) -> Stack | None:
    """Return the stack that runs in a folder; None if there is none."""
    try:
        stack = Stack(**json.loads((home / _FILE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    alive = started_at(stack.pid)
    return stack if alive is not None and alive == stack.started else None


def with_stack(settings: Settings) -> Settings:
    """Return the settings, pointed to the stack that runs in their folder, if there is one.

    Servers that the environment names go before those of the stack.
    """
    stack = find_stack(settings.home)
    return settings if stack is None else settings_on(stack, settings)


def with_exporter(settings: Settings) -> Settings:
    """Return what `with_stack` does, with ClickHouse's user for exports where the stack has one."""
    stack = find_stack(settings.home)
    if stack is not None and stack.exporter and not settings.clickhouse:
        settings = dataclasses.replace(settings, clickhouse=stack.exporter)
    return with_stack(settings)


def settings_on(stack: Stack, settings: Settings) -> Settings:
    """Return the settings, pointed to a stack but for the servers that they name themselves."""
    if not settings.kafka:
        settings = dataclasses.replace(
            settings,
            kafka=stack.kafka,
            kafka_security=stack.kafka_security,
            kafka_user=stack.kafka_user,
            kafka_password=stack.kafka_password,
            kafka_ca=stack.kafka_ca,
        )
    host, _, port = stack.http.partition("://")[2].rpartition(":")
    return dataclasses.replace(
        settings,
        host=host.strip("[]"),
        port=int(port),
        clickhouse=settings.clickhouse or stack.clickhouse,
        namespace=stack.namespace,
        partitions=stack.partitions,
    )


def publish_stack(home: Path, stack: Stack) -> None:
    """Write the addresses where `find_stack` looks; the file holds passwords."""
    write_secret(home / _FILE, json.dumps(dataclasses.asdict(stack), indent=1))


def withdraw_stack(home: Path) -> None:
    """Remove the addresses: the stack ends."""
    (home / _FILE).unlink(missing_ok=True)
