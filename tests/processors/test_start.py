"""A processor that begins where a server is away: it says which, and ends to be started again."""

from __future__ import annotations

import subprocess

import pytest

from deploy.local.machine import free_port
from runtime.settings import Settings
from tests.benchmarks.programs import beside_python
from tests.environments import environment_of

ENDS_WITHIN_S = 60


@pytest.mark.parametrize("service", ["sessionizer", "writer"])
def test_without_kafka_it_names_it_and_ends_as_one_to_be_started_again(service: str) -> None:
    kafka = f"127.0.0.1:{free_port()}"
    ended = subprocess.run(
        [beside_python("track"), service],
        env=environment_of(Settings(kafka=kafka)),
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_WITHIN_S,
    )
    assert ended.returncode == 70, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Kafka ({kafka}) does not answer"), last
    assert "TRACK_KAFKA" in last
