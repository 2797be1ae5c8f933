"""`track acls`: what Kafka has to allow each service, and nothing more; shown, or made.

In: settings, and the names of the users. Out: commands of Kafka's own tool, one for each rule, or
the rules themselves at the broker. Never: a rule taken away.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import click
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest

from contracts.groups import sessionizer_group, writer_group
from contracts.topics import Topics
from runtime.kafka.admin import open_admin
from runtime.kafka.refusals import explain_failure
from runtime.settings import Settings
from runtime.startup import StartupError

ROLES: Mapping[str, str] = {
    "admin": "migrate, verify, position and every other command",
    "ingest": "POST /track",
    "sessionizer": "the sessionizers",
    "writer": "the writers",
    "query": "queries: they look how far topics and groups are",
    "producer": "producers of others: they write events and nothing else",
    "reader": "readers of others: they read what came of the events",
}
_WITHIN_S = 60.0
_ALLOW = 3
_EVERY_HOST = "*"


class Kind(Enum):
    """What a rule is about: the tool's option, and the number that the protocol has for it."""

    TOPIC = ("--topic", 2)
    GROUP = ("--group", 3)
    TRANSACTIONAL_ID = ("--transactional-id", 5)


class Operation(Enum):
    """What is allowed: the tool's word, and the number that the protocol has for it."""

    READ = ("Read", 3)
    WRITE = ("Write", 4)
    CREATE = ("Create", 5)
    DESCRIBE = ("Describe", 8)
    DESCRIBE_CONFIGS = ("DescribeConfigs", 10)


class Names(Enum):
    """Whether a name is meant as it is, or all that begin with it."""

    LITERAL = ("literal", 3)
    PREFIXED = ("prefixed", 4)


@dataclass(frozen=True, slots=True)
class Rule:
    """What one user may do with one resource; reading and writing imply describing."""

    user: str
    kind: Kind
    name: str
    operations: tuple[Operation, ...]
    names: Names = Names.LITERAL

    def command(self, servers: str) -> str:
        """Return the command of Kafka's tool that makes the rule."""
        operations = [word for each in self.operations for word in ("--operation", each.value[0])]
        return shlex.join(
            [
                "kafka-acls.sh", "--bootstrap-server", servers,
                "--command-config", "admin.properties", "--add",
                "--allow-principal", f"User:{self.user}", *operations,
                self.kind.value[0], self.name, "--resource-pattern-type", self.names.value[0],
            ]
        )  # fmt: skip


def rules(namespace: str, users: Mapping[str, str]) -> list[Rule]:
    """Return the rules of a pipeline; `users` names the user of each role."""
    topics = Topics.of(namespace)
    look = (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
    read, write = (Operation.READ,), (Operation.WRITE,)
    found: list[Rule] = []

    def allow(
        role: str,
        kind: Kind,
        names: Iterable[str],
        operations: tuple[Operation, ...],
        pattern: Names = Names.LITERAL,
    ) -> None:
        found.extend(Rule(users[role], kind, name, operations, pattern) for name in names)

    every = (Operation.CREATE, *read, *write, *look)
    allow("admin", Kind.TOPIC, [f"{namespace}."], every, Names.PREFIXED)
    allow("admin", Kind.GROUP, [f"{namespace}."], read, Names.PREFIXED)
    begun = [f"{namespace}.", f"{namespace}-"]
    allow("admin", Kind.TRANSACTIONAL_ID, begun, (*write, Operation.DESCRIBE), Names.PREFIXED)
    # Every service looks at the start whether topics and log are as they must be.
    for role in ("ingest", "sessionizer", "writer"):
        allow(role, Kind.TOPIC, [*topics.partitioned, *topics.single], look)
        allow(role, Kind.TOPIC, [topics.meta], read)
    outputs = (topics.accepted, topics.sessions, topics.rejected)
    allow("ingest", Kind.TOPIC, [topics.events], write)
    allow("sessionizer", Kind.TOPIC, [topics.events, topics.state], (*read, *write))
    allow("sessionizer", Kind.TOPIC, outputs, write)
    group = sessionizer_group(namespace)
    allow("sessionizer", Kind.GROUP, [group], read)
    transactions = (*write, Operation.DESCRIBE)
    allow("sessionizer", Kind.TRANSACTIONAL_ID, [f"{group}-"], transactions, Names.PREFIXED)
    allow("writer", Kind.TOPIC, outputs, read)
    allow("writer", Kind.GROUP, [writer_group(namespace)], read)
    allow("query", Kind.TOPIC, [topics.events, *outputs], read)
    stages = (group, writer_group(namespace))
    allow("query", Kind.GROUP, stages, (Operation.DESCRIBE,))
    allow("producer", Kind.TOPIC, [topics.events], write)
    allow("reader", Kind.TOPIC, outputs, read)
    allow("reader", Kind.GROUP, [users["reader"]], read, Names.PREFIXED)
    return found


def show_rules(settings: Settings, users: Mapping[str, str]) -> None:
    """Print a command of Kafka's tool for each rule."""
    for rule in rules(settings.namespace, users):
        click.echo(rule.command(settings.kafka_servers.addresses))


def apply_rules(settings: Settings, users: Mapping[str, str]) -> None:
    """Make the rules at the broker, and say which; those that are there stay.

    Raises:
        StartupError: the broker refuses, or does not answer.
    """
    made = rules(settings.namespace, users)
    asyncio.run(_apply(settings, made))
    for rule in made:
        words = ", ".join(each.value[0] for each in rule.operations)
        kind = rule.kind.value[0].removeprefix("--")
        more = "…" if rule.names is Names.PREFIXED else ""
        click.echo(f"acls: {rule.user} may {words} {kind} {rule.name}{more}")


async def _apply(settings: Settings, made: Iterable[Rule]) -> None:
    try:
        async with asyncio.timeout(_WITHIN_S), open_admin(settings.kafka_servers) as admin:
            for rule in made:
                for operation in rule.operations:
                    await _create(admin, rule, operation)
    except (KafkaError, TimeoutError) as error:
        raise StartupError(await explain_failure(settings.kafka_servers, error)) from error


async def _create(admin: AIOKafkaAdminClient, rule: Rule, operation: Operation) -> None:
    """Ask for one rule; aiokafka knows the request, and has no method for it."""
    response = await admin._send_request(
        CreateAclsRequest(
            rule.kind.value[1],
            rule.name,
            rule.names.value[1],
            f"User:{rule.user}",
            _EVERY_HOST,
            operation.value[1],
            _ALLOW,
        )
    )
    for code, message in response.creation_responses:
        if code:
            raise for_code(code)(message)
