"""The pipeline on a Kafka that lets nobody in without a name: SASL_SSL, SCRAM, and rules for all.

One broker for all of it, whose rules are exactly those of `track acls`. Each service is a user of
its own. Certificates are of an authority that the test makes with openssl.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from cli.acls import ROLES, rules
from contracts.topics import Topics
from deploy.local.kafka import Security, start_kafka
from deploy.local.processes import Program, Running, start, wait_until_ready
from runtime.clickhouse import connect_sync
from runtime.kafka.admin import open_admin
from runtime.ready import READY_FILE
from runtime.settings import Settings
from tests.conftest import Servers, settings_on
from tests.environments import environment_of
from tests.ports import free_ports

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]
TRACK = str(Path(sys.executable).with_name("track"))
ROOT, STRANGER = "root", "stranger"
WITHIN_S = 240.0


@dataclasses.dataclass(frozen=True, slots=True)
class Secured:
    """A pipeline that is migrated, and as whom one may come."""

    settings: Settings
    passwords: dict[str, str]
    folder: Path

    def as_user(self, user: str, **more: Any) -> Settings:
        """Return the settings of a user."""
        password = self.passwords[user]
        return dataclasses.replace(self.settings, kafka_user=user, kafka_password=password, **more)

    def run(self, user: str, *command: str, **more: Any) -> tuple[int, str]:
        """Run a command as a user; return its exit code and what it said."""
        settings = self.as_user(user, home=self.folder / "commands", **more)
        done = subprocess.run(
            [TRACK, *command], env=environment_of(settings), capture_output=True, text=True,
            timeout=WITHIN_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def services(self, *names: str) -> Iterator[list[Running]]:
        """Run services as the users of their names, from when all of them work."""
        running = [start(self._program(name), self.folder / "run") for name in names]
        try:
            for each in running:
                wait_until_ready(each, WITHIN_S)
            yield running
        finally:
            for each in running:
                each.ask_to_stop()
            for each in running:
                each.stop()

    def _program(self, name: str) -> Program:
        ready, settings = self.folder / f"{name}.ready", self.as_user(name)
        return Program(
            name=name,
            command=(TRACK, name),
            environment={**environment_of(settings), READY_FILE: str(ready)},
            log=self.folder / f"{name}.log",
            is_ready=lambda: ready.exists() and (name != "ingest" or _is_ready(settings)),
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = _make_certificates(folder)
    passwords = {name: secrets.token_hex(12) for name in (ROOT, *ROLES, STRANGER)}
    security = Security(folder / "broker.pem", folder / "ca.pem", passwords)
    kafka = start_kafka(folder / "kafka", security=security)
    try:
        settings = dataclasses.replace(
            settings_on(servers, folder),
            kafka=kafka.address,
            kafka_security="SASL_SSL",
            kafka_ca=authority,
            partitions=2,
            port=free_ports(),
            http_workers=1,
        )
        pipeline = Secured(settings, passwords, folder)
        for user, command in ((ROOT, ("acls", "--apply")), ("admin", ("migrate",))):
            code, said = pipeline.run(user, *command)
            assert code == 0, said
        yield pipeline
    finally:
        kafka.kill()


async def test_everything_works_with_what_the_rules_allow(secured: Secured) -> None:
    topics = Topics.of(secured.settings.namespace)
    with secured.services("ingest", "sessionizer", "writer") as programs:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{secured.settings.port}") as http:
            for event in ("play", "stop"):
                answer = await http.post("/track", json={"event": event, "user_id": "ada"})
                assert answer.status_code == 200
        async with _producer(secured, "producer", enable_idempotence=True) as producer:
            for number in range(20):
                body = json.dumps({"event": "buy", "user_id": f"u{number}"}).encode()
                # Not where the user belongs: the sessionizer has to write it to its partition.
                await producer.send_and_wait(topics.events, body, partition=number % 2)
        await _until(lambda: _count(secured, "events") == 22, "the events are not counted")
        await _until(lambda: _count(secured, "sessions") == 1, "the session is not counted")
        assert [each.exit_code for each in programs] == [None, None, None]
    assert [each.exit_code for each in programs] == [0, 0, 0]
    code, said = secured.run("admin", "verify")
    assert code == 0, said
    code, said = secured.run("admin", "position")
    assert code == 0, said
    read = await _read(secured, "reader", topics.accepted, group="reader-1")
    assert len(read) == 22
    # What is on its way has arrived, so nobody needs to work.
    code, said = secured.run("admin", "forget", "ada", "--yes")
    assert code == 0, said
    assert _count(secured, "events") == 20
    _assert_no_password_in(secured)


def _assert_no_password_in(secured: Secured) -> None:
    """Neither in what services and the broker log, nor in files that others can read."""
    logs = [*secured.folder.glob("*.log"), secured.folder / "kafka" / "kafka.log"]
    assert len(logs) == 4
    for log in logs:
        text = log.read_text()
        assert not [user for user, word in secured.passwords.items() if word in text], log
    assert (secured.folder / "kafka" / "server.properties").stat().st_mode & 0o077 == 0


WRITING = [
    ("producer", "accepted", TopicAuthorizationFailedError),
    ("producer", "sessions", TopicAuthorizationFailedError),
    ("producer", "rejected", TopicAuthorizationFailedError),
    ("producer", "state", TopicAuthorizationFailedError),
    ("producer", "meta", TopicAuthorizationFailedError),
    ("producer", "replayed", TopicAuthorizationFailedError),
    ("producer", "forgotten", TopicAuthorizationFailedError),
    ("reader", "events", TopicAuthorizationFailedError),
    ("ingest", "accepted", TopicAuthorizationFailedError),
    ("ingest", "state", TopicAuthorizationFailedError),
    ("writer", "events", TopicAuthorizationFailedError),
    ("writer", "accepted", TopicAuthorizationFailedError),
    ("sessionizer", "meta", TopicAuthorizationFailedError),
    ("sessionizer", "replayed", TopicAuthorizationFailedError),
    ("sessionizer", "forgotten", TopicAuthorizationFailedError),
    (STRANGER, "events", TopicAuthorizationFailedError),
]


@pytest.mark.parametrize(("user", "topic", "error"), WRITING)
async def test_nobody_writes_what_is_not_his(
    secured: Secured, user: str, topic: str, error: type[KafkaError]
) -> None:
    name = getattr(Topics.of(secured.settings.namespace), topic)
    async with _producer(secured, user) as producer:
        with pytest.raises(error):
            await asyncio.wait_for(producer.send_and_wait(name, b"{}", partition=0), 10)


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("producer", "events"),
        ("producer", "accepted"),
        ("producer", "state"),
        ("reader", "events"),
        ("reader", "state"),
        ("reader", "meta"),
        ("ingest", "events"),
        ("ingest", "state"),
        ("writer", "events"),
        ("writer", "state"),
        ("sessionizer", "sessions"),
        (STRANGER, "accepted"),
    ],
)
async def test_nobody_reads_what_is_not_his(secured: Secured, user: str, topic: str) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        await _read(secured, user, getattr(Topics.of(secured.settings.namespace), topic))


@pytest.mark.parametrize("user", ["producer", "reader", "ingest", "writer", STRANGER])
async def test_nobody_takes_a_transaction_of_the_sessionizer(secured: Secured, user: str) -> None:
    """It would fence the owner of the partition."""
    namespace = secured.settings.namespace
    for name in (f"{namespace}.sessionizer-0", f"{namespace}-migrate", f"{namespace}.replay"):
        producer = _producer(secured, user, transactional_id=name)
        with pytest.raises(TransactionalIdAuthorizationFailed):
            await asyncio.wait_for(producer.start(), 10)
        await producer.stop()


@pytest.mark.parametrize("user", ["producer", "reader", "ingest", STRANGER])
async def test_nobody_joins_a_group_of_ours(secured: Secured, user: str) -> None:
    """It would take partitions from the services."""
    topic = Topics.of(secured.settings.namespace).accepted
    for group in ("writer", "sessionizer"):
        name = f"{secured.settings.namespace}.{group}"
        with pytest.raises(GroupAuthorizationFailedError):
            await _read(secured, user, topic, group=name)
        async with open_admin(secured.as_user(user).kafka_servers) as admin:
            with pytest.raises(GroupAuthorizationFailedError):
                await admin.list_consumer_group_offsets(name)


@pytest.mark.parametrize("user", ["producer", "reader", "ingest", "sessionizer", "writer"])
async def test_only_the_admin_makes_topics_and_nobody_makes_rules(
    secured: Secured, user: str
) -> None:
    topics = Topics.of(secured.settings.namespace)
    async with open_admin(secured.as_user(user).kafka_servers) as admin:
        for name in ("other", f"{topics.events}2"):
            made = await admin.create_topics([NewTopic(name, 1, 1)])
            assert [error[1] for error in made.topic_errors] == [
                TopicAuthorizationFailedError.errno
            ]
        gone = await admin.delete_topics([topics.events])
        assert [error[1] for error in gone.topic_error_codes] == [
            TopicAuthorizationFailedError.errno
        ]


# --- what is said where one does not get in -------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "wrong", "said"),
    [
        ("admin", {"kafka_password": "wrong"}, "TRACK_KAFKA_USER and TRACK_KAFKA_PASSWORD"),
        ("admin", {"kafka_user": "nobody"}, "does not know the user nobody"),
        ("admin", {"kafka_ca": ""}, "Check TRACK_KAFKA_CA"),
        ("admin", {"kafka": "localhost"}, "the name in TRACK_KAFKA"),
        (
            "admin",
            {"kafka_security": "PLAINTEXT", "kafka_user": "", "kafka_password": ""},
            "check TRACK_KAFKA_SECURITY",
        ),
        (
            "admin",
            {"kafka_security": "SSL", "kafka_user": "", "kafka_password": ""},
            "check TRACK_KAFKA_SECURITY",
        ),
        ("reader", {}, "does not let the user reader"),
        (STRANGER, {}, "does not let the user stranger"),
    ],
)
def test_a_wrong_entrance_is_one_sentence_that_names_the_setting(
    secured: Secured, user: str, wrong: dict[str, Any], said: str
) -> None:
    if "kafka" in wrong:  # the certificate is one for the address, not for the name
        wrong = {"kafka": f"{wrong['kafka']}:{secured.settings.kafka.rpartition(':')[2]}"}
    settings = dataclasses.replace(secured.as_user(user), home=secured.folder / "none", **wrong)
    done = subprocess.run(
        [TRACK, "verify"], env=environment_of(settings), capture_output=True, text=True,
        timeout=WITHIN_S, check=False,
    )  # fmt: skip
    # A server that does not answer in this way may be one that stands still: 70, to be tried again.
    assert done.returncode == (70 if "kafka_security" in wrong else 78)
    last = done.stderr.strip().splitlines()[-1]
    assert said in last, done.stderr
    assert "Traceback" not in done.stderr
    assert secured.passwords[user] not in done.stdout + done.stderr


def test_the_commands_shown_are_the_rules_made(secured: Secured) -> None:
    code, shown = secured.run(ROOT, "acls", "--user", "reader=bi")
    users = {**{role: role for role in ROLES}, "reader": "bi"}
    assert code == 0
    lines = shown.splitlines()
    assert len(lines) == len(rules(secured.settings.namespace, users))
    pattern = re.compile(
        r"kafka-acls\.sh --bootstrap-server \S+ --command-config admin\.properties --add "
        r"--allow-principal User:(\S+)((?: --operation \w+)+) "
        r"--(topic|group|transactional-id) (\S+) --resource-pattern-type (literal|prefixed)"
    )
    assert all(pattern.fullmatch(line) for line in lines)
    assert not [line for line in lines if "User:reader" in line]
    code, said = secured.run("admin", "acls", "--apply")
    assert code == 78
    assert "does not let the user admin" in said


# --- clients --------------------------------------------------------------------------------------


def _producer(secured: Secured, user: str, **more: Any) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **secured.as_user(user).kafka_servers.client_arguments(), request_timeout_ms=5_000, **more
    )


async def _read(secured: Secured, user: str, topic: str, group: str | None = None) -> list[Any]:
    """Read a topic to its end, as a member of a group or without one."""
    consumer = AIOKafkaConsumer(
        **secured.as_user(user).kafka_servers.client_arguments(),
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=11_000,
    )
    await consumer.start()
    found: list[Any] = []
    try:
        if group is None:
            await _require_visible(consumer, topic)
            consumer.assign([TopicPartition(topic, 0)])
        else:
            consumer.subscribe([topic])
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end and len(found) < 22:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    finally:
        await consumer.stop()
    return found


async def _require_visible(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Raise what the broker says against a topic's name; a consumer would ask again for ever."""
    await consumer._client.add_topic(topic)
    if topic in consumer._client.cluster.unauthorized_topics:
        raise TopicAuthorizationFailedError(topic)


def _is_ready(settings: Settings) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{settings.port}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _count(secured: Secured, table: str) -> int:
    client = connect_sync(secured.settings)
    try:
        return int(client.query(f"SELECT count() FROM {table}").first_row[0])
    finally:
        client.close()


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


def _make_certificates(folder: Path) -> str:
    """Make an authority and a broker's certificate for 127.0.0.1; return the authority's, PEM."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-x509", "-days", "2", "-subj", "/CN=test authority")
    usage = ("-addext", "keyUsage=critical,keyCertSign")
    openssl(*new, *authority, *usage, "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "-subj", "/CN=broker", "-keyout", "broker.key", "-out", "broker.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "broker.crt")  # fmt: skip
    parts = ("broker.key", "broker.crt", "ca.pem")
    (folder / "broker.pem").write_text("".join((folder / part).read_text() for part in parts))
    return (folder / "ca.pem").read_text()
