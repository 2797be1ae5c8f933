"""What the measurements have in common: servers of their own, namespaces, a folder, somebody to
tell.

In: sizes and a folder. Out: migrated namespaces on real servers. Never: a server that is not on
this machine, or a namespace left behind.

Servers come from TRACK_KAFKA and TRACK_CLICKHOUSE if these name them, else from the local stack's
starters, on free ports.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from aiokafka.admin import AIOKafkaAdminClient

from cli.migrate import run_migrations
from deploy.local.clickhouse import start_clickhouse
from deploy.local.kafka import start_kafka
from runtime.clickhouse import connect_sync
from runtime.settings import Settings
from tests.benchmarks.figures import BenchmarkError
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.warm_up import warm_up

PARTITIONS = 4
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Bench:
    """A run of the benchmark; close it by `stop_servers`."""

    def __init__(self, folder: Path, sizes: Sizes, say: Callable[[str], None]) -> None:
        self.folder, self.sizes, self.say = folder, sizes, say
        self._ends = ExitStack()
        self._servers: Settings | None = None

    @contextmanager
    def namespace(self, partitions: int = PARTITIONS, clickhouse: str = "") -> Iterator[Settings]:
        """Give a migrated namespace on the servers, and remove it afterwards.

        The servers are started, and the broker warmed up, when first needed. `clickhouse` is the
        URL of another ClickHouse than the run's.
        """
        servers = self._started()
        settings = dataclasses.replace(
            servers,
            namespace=f"bench_{secrets.token_hex(4)}",
            partitions=partitions,
            home=self.folder,
            clickhouse=clickhouse or servers.clickhouse,
        )
        asyncio.run(run_migrations(settings))
        try:
            yield settings
        finally:
            asyncio.run(_delete_topics(settings))
            _drop_database(settings)

    def clickhouse_version(self) -> str:
        """Return the version of the running ClickHouse; empty if none runs."""
        if self._servers is None:
            return ""
        client = connect_sync(self._servers, database="default")
        try:
            return str(client.server_version)
        finally:
            client.close()

    def stop_servers(self) -> None:
        """Stop what was started here."""
        self._servers = None
        self._ends.close()

    def _started(self) -> Settings:
        if self._servers is None:
            servers = Settings(
                partitions=PARTITIONS, kafka=self._kafka(), clickhouse=self._clickhouse()
            )
            self.say(f"warming up Kafka for {self.sizes.warm_up_s:.0f} s")
            asyncio.run(warm_up(servers.kafka, self.sizes.warm_up_s))
            self._servers = servers
        return self._servers

    def _kafka(self) -> str:
        if named := os.environ.get("TRACK_KAFKA"):
            for server in named.split(","):
                _refuse_remote("TRACK_KAFKA", server.rpartition(":")[0])
            return named
        self.say("starting Kafka")
        kafka = start_kafka(self.folder / "kafka", say=self.say)
        self._ends.callback(kafka.stop)
        return kafka.address

    def _clickhouse(self) -> str:
        if named := os.environ.get("TRACK_CLICKHOUSE"):
            _refuse_remote("TRACK_CLICKHOUSE", urlsplit(named).hostname or "")
            return named
        self.say("starting ClickHouse")
        clickhouse = start_clickhouse(self.folder / "clickhouse", say=self.say)
        self._ends.callback(clickhouse.stop)
        return clickhouse.address


def _refuse_remote(variable: str, host: str) -> None:
    if host.strip("[]") not in _LOOPBACK:
        raise BenchmarkError(
            f"{variable} names {host}; the benchmark puts load on servers of this machine alone. "
            "Unset it, or name one at 127.0.0.1."
        )


async def _delete_topics(settings: Settings) -> None:
    """Delete the namespace's topics, and those that others made for their state."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        names = await admin.list_topics()
        await admin.delete_topics([name for name in names if settings.namespace in name])
    finally:
        await admin.close()


def _drop_database(settings: Settings) -> None:
    client = connect_sync(settings, database="default")
    try:
        client.command(f"DROP DATABASE IF EXISTS {settings.namespace} SYNC")
    finally:
        client.close()
