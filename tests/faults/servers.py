"""Kafka and ClickHouse of the suite's own, each service behind proxies of its own.

In: a folder. Out: servers that can be killed and started again at the same ports; for each service
the addresses of its proxies, for the judge the servers' own. Never: a server that others use.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deploy.local.clickhouse import ClickHouse, start_clickhouse
from deploy.local.kafka import Kafka, start_kafka
from runtime.settings import Settings
from tests.faults.proxy import Proxy, open_proxies
from tests.ports import free_ports

SERVICES = ("serve", "sessionizer", "writer", "sessionizer-2", "writer-2")
OUTSIDE = "outside"
_STARTS_WITHIN_S = 180.0  # on a machine that does much else


@dataclass(frozen=True, slots=True)
class Ways:
    """The proxies of one service."""

    kafka: Proxy
    clickhouse: Proxy

    def heal(self) -> None:
        """Make both good again."""
        self.kafka.heal()
        self.clickhouse.heal()


class FaultyServers:
    """The two servers and the ways to them.

    Attributes:
        ways: the proxies by service (`serve`, `sessionizer`, `writer`, `writer-2` …), and those of
            the producers outside (`outside`).
        clickhouse_kills: how often ClickHouse has been killed.
    """

    def __init__(
        self, folder: Path, kafka_port: int, relays: dict[int, int], ways: dict[str, Ways],
        clickhouse: ClickHouse,
    ) -> None:  # fmt: skip
        self.ways = ways
        self.clickhouse_kills = 0
        self._folder = folder
        self._kafka_port = kafka_port
        self._relays = relays
        self._clickhouse = clickhouse
        self._kafka = self._start_kafka()

    @property
    def kafka(self) -> str:
        """Kafka's own address: what the judge reads through."""
        return self._kafka.address

    @property
    def clickhouse(self) -> str:
        """ClickHouse's own URL."""
        return self._clickhouse.address

    @property
    def clickhouse_pid(self) -> int:
        """The process of ClickHouse."""
        return self._clickhouse.running.pid

    @property
    def folders(self) -> Mapping[str, Path]:
        """Where each server keeps its data."""
        return {name: self._folder / name / "data" for name in ("kafka", "clickhouse")}

    @property
    def clickhouse_folder(self) -> Path:
        """Where ClickHouse keeps its data and its logs."""
        return self._folder / "clickhouse"

    def settings_of(self, service: str, settings: Settings) -> Settings:
        """Return settings in which a service reaches both servers through its proxies."""
        ways = self.ways[service]
        url = urlsplit(self.clickhouse)
        host = f"{url.username}:{url.password}@127.0.0.1:{ways.clickhouse.port}"
        return dataclasses.replace(
            settings,
            kafka=f"127.0.0.1:{ways.kafka.port}",
            clickhouse=urlunsplit(url._replace(netloc=host)),
        )

    def heal(self) -> None:
        """Make all ways good again."""
        for ways in self.ways.values():
            ways.heal()

    def kill_kafka(self) -> None:
        """Kill -9 the broker."""
        self._kafka.kill()

    def start_kafka(self) -> None:
        """Start the broker again, on what it had written."""
        self._kafka = self._start_kafka()

    def kill_clickhouse(self) -> None:
        """Kill -9 ClickHouse."""
        self.clickhouse_kills += 1
        self._clickhouse.kill()

    def start_clickhouse(self) -> None:
        """Start ClickHouse again, on what it had written."""
        self._clickhouse = start_clickhouse(self.clickhouse_folder, self._clickhouse.ports)

    def pause_kafka(self) -> None:
        """Stop the broker from running."""
        os.kill(self._kafka.running.pid, signal.SIGSTOP)

    def resume_kafka(self) -> None:
        """Let the broker go on."""
        os.kill(self._kafka.running.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End both."""
        self._kafka.kill()
        self._clickhouse.kill()

    def _start_kafka(self) -> Kafka:
        return start_kafka(
            self._folder / "kafka", self._kafka_port, relays=self._relays, within_s=_STARTS_WITHIN_S
        )


@contextmanager
def faulty_servers(folder: Path) -> Iterator[FaultyServers]:
    """Start both servers, with all their proxies, for as long as the block lasts."""
    with open_proxies() as open_proxy:
        clickhouse = start_clickhouse(folder / "clickhouse")
        relays, ways = {}, {}
        try:
            kafka_port = free_ports(len(SERVICES) + 2)
            for own, service in enumerate((*SERVICES, OUTSIDE), kafka_port + 1):
                ways[service] = Ways(open_proxy(own), open_proxy(clickhouse.ports.http))
                relays[own] = ways[service].kafka.port
            servers = FaultyServers(folder, kafka_port, relays, ways, clickhouse)
        except BaseException:
            clickhouse.kill()
            raise
        try:
            yield servers
        finally:
            servers.stop()
