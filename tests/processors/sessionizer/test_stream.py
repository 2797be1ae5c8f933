"""Faust's side of the sessionizer, where it cannot even begin."""

from __future__ import annotations

import subprocess
import sys

from deploy.local.machine import free_port
from processors.sessionizer.app import EXIT_FAILED

# The check before it has passed; then Kafka is gone.
RUN = """
import sys, tempfile
from processors.sessionizer.app import _fail
from processors.sessionizer.stream import Stream
from runtime.kafka.servers import KafkaServers
from runtime.logs import set_up_logs
set_up_logs("sessionizer")
stream = Stream(
    group="g", servers=KafkaServers(sys.argv[1]), topic="t", session_timeout_s=6.0,
    datadir=tempfile.gettempdir(), fail=_fail,
)
stream.run(None)
"""


def test_a_kafka_that_is_gone_since_the_check_is_a_sentence() -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = subprocess.run(
        [sys.executable, "-c", RUN, address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == EXIT_FAILED, ended.stdout + ended.stderr
    said = ended.stdout + ended.stderr
    assert f"Kafka ({address}) does not answer" in said.splitlines()[-1]
    assert "Traceback" not in said
