"""Kafka and ClickHouse in containers, by testcontainers: how people with Docker run the tests.

In: images that are there. Out: addresses of servers that answer, with the settings of the local
ones. Never: a container left behind by a run that ends in good order.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import ExitStack

from deploy.local.kafka import answers_metadata, broker_properties
from deploy.local.machine import free_port

KAFKA_IMAGE = "apache/kafka:4.1.0"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.7"
_READY_WITHIN_S = 90


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
    """Start Kafka; return its bootstrap servers.

    Not by testcontainers' own `KafkaContainer`: that one needs the images of Confluent, whose
    scripts it calls.
    """
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(KAFKA_IMAGE)
    host, port = container.get_docker_client().host(), free_port()
    address = f"{host}:{port}"
    container.with_bind_ports(9092, port)
    for name, value in broker_properties(address, listen="0.0.0.0:9092").items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    ends.enter_context(container)
    deadline = time.monotonic() + _READY_WITHIN_S
    while not answers_metadata(host, port):
        assert time.monotonic() < deadline, f"Kafka's container does not answer at {address}"
        time.sleep(0.2)
    return address


def clickhouse_in_container(ends: ExitStack) -> str:
    """Start ClickHouse; return its URL, with user and password."""
    from testcontainers.community.clickhouse import ClickHouseContainer

    container = ClickHouseContainer(CLICKHOUSE_IMAGE, username="track", password="track")
    ends.enter_context(container)
    host, port = container.get_container_host_ip(), container.get_exposed_port(8123)
    return f"http://track:track@{host}:{port}"
