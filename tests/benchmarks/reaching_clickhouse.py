"""A local ClickHouse that may reach Kafka by itself, which the stack's own is kept from.

In: a folder. Out: a started server, for comparison alone: without the kernel's confinement, its
administrator allowed to make tables of the engine Kafka, with threads for their consumers.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.clickhouse import ADMIN, Ports, clickhouse_program, keep_passwords, user_urls
from deploy.local.clickhouse_process import main
from deploy.local.downloads import Say, clickhouse_library
from deploy.local.machine import free_port
from deploy.local.processes import Running, start, wait_until_ready

_START_S = 60
_ANY_ENGINE = "<query>GRANT TABLE ENGINE ON Null</query>"
_GRANTS = ("GRANT TABLE ENGINE ON Kafka", "GRANT KAFKA ON *.*")
_CONSUMERS = "<background_message_broker_schedule_pool_size>{}<"


@contextmanager
def reaching_clickhouse(folder: Path, say: Say) -> Iterator[tuple[str, Running]]:
    """Give the administrator's URL and the process."""
    ports = Ports(free_port(), free_port())
    program = clickhouse_program(
        folder, ports, "", log=folder / "clickhouse.log", library=clickhouse_library(say)
    )

    def prepare() -> None:
        program.prepare()
        grants = "".join(f"<query>{grant}</query>" for grant in _GRANTS)
        _replace(folder / "users.xml", _ANY_ENGINE, _ANY_ENGINE + grants)
        _replace(folder / "config.xml", _CONSUMERS.format(1), _CONSUMERS.format(4))

    # The same command less Python's script and the folder of logs, which is the confinement's.
    command = (sys.executable, "-I", __file__, *program.command[3:-1])
    running = start(dataclasses.replace(program, command=command, prepare=prepare), folder / "run")
    try:
        wait_until_ready(running, _START_S)
        yield user_urls(ports.http, keep_passwords(folder))[ADMIN], running
    finally:
        running.stop()


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


if __name__ == "__main__":
    _library, _config, _data, _http, _native = sys.argv[1:]
    sys.exit(main(_library, _config, _data, (_http, _native)))
