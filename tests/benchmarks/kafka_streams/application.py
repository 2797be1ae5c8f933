"""The Kafka Streams application: its jars, its compilation, its settings, its process.

In: settings of a namespace, a number of threads. Out: a running process that reads the namespace's
events and writes its accepted events and sessions. Never: a Java compiler of the machine, RocksDB.

The environment's Java is a runtime without a compiler, so Eclipse's comes with the jars.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from contracts.topics import Topics
from deploy.local.downloads import KAFKA_VERSION, Jars, Say, java, pinned_jars
from deploy.local.processes import Running
from runtime.settings import Settings
from tests.benchmarks.figures import BenchmarkError
from tests.benchmarks.programs import run

_HERE = Path(__file__).parent
_SOURCE = _HERE / "Sessionizer.java"
_JARS = Jars(
    f"Kafka Streams {KAFKA_VERSION}",
    f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}"
    "+org.slf4j:slf4j-simple:1.7.36+org.eclipse.jdt:ecj:3.44.0",
    _HERE / "jars.sha256",
)
_COMPILED_WITHIN_S = 120
_JVM = (
    "-Xms1g",
    "-Xmx1g",
    "-XX:+UseParallelGC",  # the collector for throughput
    "-XX:-UsePerfData",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


class KafkaStreams:
    """The compiled application; it is compiled when it is made."""

    def __init__(self, folder: Path, say: Say) -> None:
        jars = pinned_jars(f"kafka-streams-{KAFKA_VERSION}", _JARS, say)
        classes = folder / "kafka_streams"
        self._class_path = ":".join(map(str, (*sorted(jars.glob("*.jar")), classes)))
        _compile(self._class_path, classes)

    @contextmanager
    def run(self, settings: Settings, threads: int, duplicate_window: int) -> Iterator[Running]:
        """Run it for a while with so many threads; with a window of 0 it keeps duplicates."""
        file = settings.home / f"{settings.namespace}.properties"
        chosen = _properties(settings, threads, duplicate_window)
        file.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))
        command = [str(java()), *_JVM, "-cp", self._class_path, "Sessionizer", str(file)]
        with run(settings.home, "kafka_streams", command) as running:
            yield running


def _compile(class_path: str, classes: Path) -> None:
    command = [str(java()), "-cp", class_path, "org.eclipse.jdt.internal.compiler.batch.Main"]
    command += ["-25", "-proc:none", "-cp", class_path, "-d", str(classes), str(_SOURCE)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_COMPILED_WITHIN_S, check=False
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{_SOURCE.name} was not compiled: {done.stdout + done.stderr}")


def _properties(settings: Settings, threads: int, duplicate_window: int) -> Mapping[str, object]:
    """Return the settings: the defaults, but for what the comparison asks for and what helps it.

    Compression and large batches are the sessionizer's too. A commit every 100 ms is what Kafka
    Streams itself takes for exactly once; it is named so that it stays.
    """
    topics = Topics.of(settings.namespace)
    return {
        "events": topics.events,
        "accepted": topics.accepted,
        "sessions": topics.sessions,
        "duplicate.window": duplicate_window,
        "application.id": f"{settings.namespace}.streams",
        "bootstrap.servers": settings.kafka,
        "processing.guarantee": "exactly_once_v2",
        "commit.interval.ms": 100,
        "num.stream.threads": threads,
        "replication.factor": 1,
        "state.dir": settings.home / f"{settings.namespace}.streams",
        "statestore.cache.max.bytes": 64 * 1024 * 1024,
        "consumer.auto.offset.reset": "earliest",
        "producer.compression.type": "zstd",
        "producer.batch.size": 256 * 1024,
    }
