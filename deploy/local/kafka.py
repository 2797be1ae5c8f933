"""The local Kafka: one node, KRaft, on the loopback address alone.

In: a folder for its data, a port. Out: a `Program` for the stack's supervisor, or a started server.
Never: a setting that a topic of ours depends on (`track migrate` sets those on the topics).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import downloads
from deploy.local.machine import free_port
from deploy.local.processes import Program, Running, ServerError, start, wait_until_ready

START_SECONDS = 180
_GRACE_S = 20
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners={listener}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listened}
advertised.listeners={listener}://127.0.0.1:{port}{advertised}
listener.security.protocol.map={listener}:{listener},CONTROLLER:PLAINTEXT{protocols}
controller.listener.names=CONTROLLER
inter.broker.listener.name={listener}
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
offsets.retention.minutes=43200
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.max.timeout.ms=60000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
group.min.session.timeout.ms=3000
log.cleaner.dedupe.buffer.size=33554432
num.network.threads=2
num.io.threads=4
"""
# What a broker has besides that lets nobody in without a name, and lets nobody do what no rule
# allows. Its own controller comes over a port of its own, without one.
_SECURED_PROPERTIES = """\
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{user}" password="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{user};User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""


@dataclass(frozen=True, slots=True)
class Security:
    """How a broker is entered: over TLS, by users with passwords, and only for what rules allow.

    Attributes:
        certificate: PEM file of the private key, the certificate and those above it.
        authority: PEM file of who signed it; the broker is a client of its own.
        passwords: the users' passwords; the first user may do everything.
    """

    certificate: Path
    authority: Path
    passwords: Mapping[str, str]

    @property
    def properties(self) -> str:
        """The broker's settings for it."""
        user, password = next(iter(self.passwords.items()))
        return _SECURED_PROPERTIES.format(
            user=user,
            password=password,
            certificate=self.certificate,
            authority=self.authority,
        )


@dataclass(frozen=True, slots=True)
class Kafka:
    """A started local Kafka."""

    address: str
    running: Running

    def stop(self) -> None:
        """End it in good order; its data stay."""
        self.running.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.running.kill()


def start_kafka(
    folder: Path,
    port: int = 0,
    say: downloads.Say = lambda line: None,
    *,
    security: Security | None = None,
    relays: Mapping[int, int] | None = None,
    within_s: float = START_SECONDS,
) -> Kafka:
    """Start Kafka and wait until it answers.

    Args:
        folder: where its data, log and notes go.
        port: its port; 0 takes a free one.
        say: takes a line for people when something has to be fetched.
        security: how it is entered; by default by everybody, over a plain connection.
        relays: more ports to listen on, each with the port of the relay in front of it: who comes
            through the relay is told the relay's address, and stays behind it.
        within_s: how long it may take.

    Raises:
        ServerError: its files could not be had, or it did not come up.
    """
    port = port or free_port()
    log, jars = folder / "kafka.log", downloads.kafka_jars(say)
    program = kafka_program(folder, port, log, jars, security=security, relays=relays)
    running = start(program, folder / "run")
    try:
        wait_until_ready(running, within_s)
    except BaseException:
        running.kill()
        raise
    return Kafka(f"127.0.0.1:{port}", running)


def kafka_program(
    folder: Path,
    port: int,
    log: Path,
    jars: Path,
    *,
    security: Security | None = None,
    relays: Mapping[int, int] | None = None,
) -> Program:
    """Return the program that serves Kafka from the folder on the port, and behind relays."""
    folder = folder.absolute()
    class_path = ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))
    properties = folder / "server.properties"
    return Program(
        name="kafka",
        command=(*_java(folder), "-cp", class_path, "kafka.Kafka", str(properties)),
        environment=_environment(),
        log=log,
        is_ready=lambda: (
            listens("127.0.0.1", port) if security else answers_metadata("127.0.0.1", port)
        ),
        prepare=lambda: _prepare(folder, port, class_path, security, relays or {}),
        grace_s=_GRACE_S,
        dies_by=signal.SIGTERM,
    )


def answers_metadata(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Return whether a broker answers a Metadata request (version 1, no topics) with a broker.

    Spoken by hand: a client would keep trying and log each failure while the broker starts.
    """
    client = b"track"
    body = struct.pack(">hhih", 3, 1, 1, len(client)) + client + struct.pack(">i", 0)
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            with connection.makefile("rb") as answer:
                head = answer.read(12)  # length, correlation id, number of brokers
    except OSError:
        return False
    return len(head) == 12 and struct.unpack(">iii", head)[2] > 0


def listens(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Return whether somebody listens; a broker does not before it works."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def new_cluster_id() -> str:
    """Return a name for a cluster: a random UUID as Kafka writes it, 22 characters of base64.

    Never one that begins with a dash, as one of 64 would: Kafka's tools take it for an option.
    """
    while (name := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name


def _java(folder: Path) -> tuple[str, ...]:
    return (
        str(downloads.java()),
        "-Xms64m",
        "-Xmx768m",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",  # it would leave files in the system's folder for temporary ones
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        "-Djava.awt.headless=true",
        "--sun-misc-unsafe-memory-access=allow",  # Kafka uses it; Java would warn each time
        "--enable-native-access=ALL-UNNAMED",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    )


def _environment() -> dict[str, str]:
    """The environment without options that other Java programs of the user may need."""
    foreign = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")
    return {name: value for name, value in os.environ.items() if name not in foreign}


def _prepare(
    folder: Path,
    port: int,
    class_path: str,
    security: Security | None,
    relays: Mapping[int, int],
) -> None:
    """Write the settings and, the first time, format the data folder."""
    data = folder / "data"
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    if not data.is_dir():
        _format(folder, class_path, data, security)
    _write_properties(folder / "server.properties", port, data, security, relays)


def _write_properties(
    path: Path, port: int, data: Path, security: Security | None, relays: Mapping[int, int]
) -> None:
    text = _PROPERTIES.format(
        listener="SASL_SSL" if security else "PLAINTEXT",
        port=port,
        controller_port=free_port(),
        data=data,
        listened="".join(f",RELAY{own}://127.0.0.1:{own}" for own in relays),
        advertised="".join(f",RELAY{own}://127.0.0.1:{relay}" for own, relay in relays.items()),
        protocols="".join(f",RELAY{own}:PLAINTEXT" for own in relays),
    )
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(text + (security.properties if security else ""))


def _format(folder: Path, class_path: str, data: Path, security: Security | None) -> None:
    """Format under another name and rename, so that a killed first start is simply done again."""
    draft = folder / "data.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    properties = folder / "format.properties"
    _write_properties(properties, free_port(), draft, security, {})
    # It runs for a second: what would be compiled well is not worth it.
    command = [*_java(folder), "-XX:TieredStopAtLevel=1", "-cp", class_path]
    command += ["kafka.tools.StorageTool", "format"]
    command += ["--cluster-id", new_cluster_id(), "--config", str(properties)]
    for user, password in security.passwords.items() if security else ():
        command += ["--add-scram", f'SCRAM-SHA-512=[name="{user}",password="{password}"]']
    try:
        done = subprocess.run(
            command, env=_environment(), capture_output=True, timeout=START_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(
            f"Kafka's data folder {data} was not formatted within {START_SECONDS} s."
        ) from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise ServerError(f"Kafka's data folder {data} could not be formatted: {said[-400:]}")
    properties.unlink()
    draft.rename(data)
