"""The servers of a repair: those that are named, those of the running stack, or the local ones.

In: the settings. Out: settings whose servers answer, for as long as the caller needs them. Never: a
service started; a server left running that was started here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from cli.addresses import find_stack, with_stack
from cli.folder import AlreadyRunningError, clear_folder, sole_owner
from cli.servers import local_ports, local_servers
from cli.supervisor import StopRequests
from deploy.local.clickhouse import ADMIN
from deploy.local.machine import busy_ports
from deploy.local.processes import ServerError, start, wait_until_ready
from runtime.settings import Settings

_START_SECONDS = 90


@contextmanager
def servers_for(settings: Settings) -> Iterator[Settings]:
    """Give settings that name servers which answer; start the local ones if no stack runs.

    Raises:
        ServerError: there is no stack in the folder, or its servers do not start.
    """
    if (settings.kafka and settings.clickhouse) or find_stack(settings.home) is not None:
        yield with_stack(settings)
        return
    home = settings.home.absolute()
    _require_data(settings, home)
    with ExitStack() as ends:
        try:
            ends.enter_context(sole_owner(home, StopRequests(), click.echo))
        except AlreadyRunningError as error:
            raise ServerError(str(error)) from error
        clear_folder(home, click.echo)
        yield _start(settings, home, ends)


def _require_data(settings: Settings, home: Path) -> None:
    folder = home / ("clickhouse" if settings.kafka else "kafka")
    if not folder.is_dir():
        raise ServerError(
            f"There is no stack in {home}. Set TRACK_HOME to its folder, or name servers with "
            "TRACK_KAFKA and TRACK_CLICKHOUSE."
        )


def _start(settings: Settings, home: Path, ends: ExitStack) -> Settings:
    problems = busy_ports("127.0.0.1", local_ports(settings))
    if problems:
        raise ServerError("\n".join(problems))
    servers = local_servers(settings, home, click.echo)
    running = []
    for program in servers.programs:
        process = start(program, home / "run")
        ends.callback(process.stop)
        running.append(process)
    for process in running:
        wait_until_ready(process, _START_SECONDS)
    names = " and ".join(program.name for program in servers.programs)
    click.echo(f"No stack runs here: started {names} for the repair.")
    return dataclasses.replace(
        settings,
        kafka=settings.kafka_servers.addresses,
        clickhouse=servers.clickhouse[ADMIN],
        partitions=servers.partitions,
    )
