"""Kafka and ClickHouse in containers, by testcontainers: how people with Docker run the tests.

In: images that are there. Out: addresses of servers that answer, with the settings of the local
ones. Never: a container left behind by a run that ends in good order.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import yaml

from deploy.local.kafka import answers_metadata
from deploy.local.machine import free_port

KAFKA_IMAGE = "apache/kafka:4.1.0"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.7"
_COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
_READY_WITHIN_S = 180


def has_image(image: str) -> bool:
    """Return whether a Docker engine answers and has the image already."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "image", "inspect", image]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def kafka_in_container(ends: ExitStack) -> str:
    """Start Kafka, set as in the Compose file; return its bootstrap servers.

    Not by testcontainers' own `KafkaContainer`: that one needs the images of Confluent, whose
    scripts it calls.
    """
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(KAFKA_IMAGE)
    host, port = container.get_docker_client().host(), free_port()
    container.with_bind_ports(9094, port)
    compose = yaml.safe_load(_COMPOSE.read_text())
    for name, value in compose["services"]["kafka"]["environment"].items():
        container.with_env(name, value)
    # The broker asks itself about transactions, and does not reach itself by the host's port.
    advertised = f"SERVICES://localhost:9092,HOST://{host}:{port}"
    container.with_env("KAFKA_ADVERTISED_LISTENERS", advertised)
    ends.enter_context(container)
    deadline = time.monotonic() + _READY_WITHIN_S
    while not answers_metadata(host, port):
        assert time.monotonic() < deadline, f"Kafka's container does not answer at {host}:{port}"
        time.sleep(0.2)
    return f"{host}:{port}"


def clickhouse_in_container(ends: ExitStack) -> str:
    """Start ClickHouse; return its URL, with user and password."""
    from testcontainers.community.clickhouse import ClickHouseContainer

    container = ClickHouseContainer(CLICKHOUSE_IMAGE, username="track", password="track")
    ends.enter_context(container)
    host, port = container.get_container_host_ip(), container.get_exposed_port(8123)
    return f"http://track:track@{host}:{port}"
