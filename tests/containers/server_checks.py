"""The servers of this run are containers: what `make test-containers` is for."""

from __future__ import annotations

import subprocess

from tests.conftest import Servers
from tests.containers.servers import CLICKHOUSE_IMAGE, KAFKA_IMAGE


def test_both_servers_are_containers(servers: Servers) -> None:
    command = ["docker", "ps", "--format", "{{.Image}} {{.Ports}}"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    for image, address in ((KAFKA_IMAGE, servers.kafka), (CLICKHOUSE_IMAGE, servers.clickhouse)):
        port = address.rpartition(":")[2]
        assert any(image in line and f":{port}->" in line for line in listed.splitlines()), listed
