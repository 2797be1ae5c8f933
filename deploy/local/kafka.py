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
from dataclasses import dataclass
from pathlib import Path

from deploy.local import downloads
from deploy.local.machine import free_port
from deploy.local.processes import Program, Running, ServerError, start, wait_until_ready

START_SECONDS = 60
_GRACE_S = 20
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
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


def start_kafka(folder: Path, port: int = 0, say: downloads.Say = lambda line: None) -> Kafka:
    """Start Kafka and wait until it answers.

    Args:
        folder: where its data, log and notes go.
        port: its port; 0 takes a free one.
        say: takes a line for people when something has to be fetched.

    Raises:
        ServerError: its files could not be had, or it did not come up.
    """
    port = port or free_port()
    program = kafka_program(folder, port, folder / "kafka.log", downloads.kafka_jars(say))
    running = start(program, folder / "run")
    try:
        wait_until_ready(running, START_SECONDS)
    except BaseException:
        running.kill()
        raise
    return Kafka(f"127.0.0.1:{port}", running)


def kafka_program(folder: Path, port: int, log: Path, jars: Path) -> Program:
    """Return the program that serves Kafka from the folder on the port."""
    folder = folder.absolute()
    class_path = ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))
    properties = folder / "server.properties"
    return Program(
        name="kafka",
        command=(*_java(folder), "-cp", class_path, "kafka.Kafka", str(properties)),
        environment=_environment(),
        log=log,
        is_ready=lambda: answers_metadata("127.0.0.1", port),
        prepare=lambda: _prepare(folder, port, class_path),
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


def _prepare(folder: Path, port: int, class_path: str) -> None:
    """Write the settings and, the first time, format the data folder."""
    data = folder / "data"
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    if not data.is_dir():
        _format(folder, class_path, data)
    _write_properties(folder / "server.properties", port, data)


def _write_properties(path: Path, port: int, data: Path) -> None:
    text = _PROPERTIES.format(port=port, controller_port=free_port(), data=data)
    path.write_text(text)


def _format(folder: Path, class_path: str, data: Path) -> None:
    """Format under another name and rename, so that a killed first start is simply done again."""
    draft = folder / "data.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    properties = folder / "format.properties"
    _write_properties(properties, free_port(), draft)
    command = [*_java(folder), "-cp", class_path, "kafka.tools.StorageTool"]
    command += ["format", "--cluster-id", new_cluster_id(), "--config", str(properties)]
    done = subprocess.run(
        command, env=_environment(), capture_output=True, timeout=START_SECONDS, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise ServerError(f"Kafka's data folder {data} could not be formatted: {said[-400:]}")
    properties.unlink()
    draft.rename(data)
