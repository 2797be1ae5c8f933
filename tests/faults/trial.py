"""One trial: a scenario, a pipeline of its own on the suite's servers, a load, and the judgement.

In: servers, a scenario, a seed. Out: what is wrong (nothing, if the promise was kept), and figures.
Never: a service left behind, a way left broken.

`Trial` is what a scenario is given. The order of things: the topics and tables are made, the
services started, the load begins; the scenario does its worst; the load goes on until it has made
its events, and ends; everything is healed; then `tests/faults/evidence.py` looks, and
`tests/faults/judgement.py` judges.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from cli.migrate import run_migrations
from contracts.topics import Topics
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.faults.evidence import gather_evidence
from tests.faults.judgement import judge
from tests.faults.ledger import Ledger, Outcome
from tests.faults.load import Load, Volume
from tests.faults.proxy import Lost, Proxy
from tests.faults.registry import Scenario
from tests.faults.repair import repair_if_needed
from tests.faults.servers import OUTSIDE, FaultyServers
from tests.faults.services import Service, Services, rss_bound_mb
from tests.ports import free_ports

PARTITIONS = 4
SESSION_TIMEOUT_MS = 6_000  # the least that a broker grants by default
_LOAD_ENDS_WITHIN_S = 90.0
_EVENTS_WITHIN_S = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How large the random run is."""

    events: int = 5_000_000
    minutes: float = 10.0


@dataclasses.dataclass(slots=True)
class Result:
    """What came of a trial."""

    scenario: str
    seed: int
    problems: list[str]
    figures: dict[str, object]
    took_s: float


class Trial:
    """What a scenario works with.

    Attributes:
        seed: says how things go; `random` is seeded by it.
        settings: of the pipeline, with the servers' own addresses.
        servers: Kafka and ClickHouse, to be killed and started; `servers.ways["writer"].clickhouse`
            is the proxy between the writer and ClickHouse, and so on.
        services: `services["writer"].kill()`, `.pause()`, `.resume()`, `.start(failpoint)` …
        ledger: for a scenario that sends events of its own.
        refused: names of events that a table is made to refuse.
        figures: what the scenario wants to have printed.
        problems: what the scenario itself has found wrong.
        folder: where logs go.
        size: how large the random run is to be.
    """

    def __init__(
        self, scenario: Scenario, seed: int, settings: Settings, servers: FaultyServers,
        services: Services, folder: Path, size: Size,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        self.seed = seed
        self.random = random.Random(f"{scenario.name}:{seed}")
        self.settings = settings
        self.servers = servers
        self.services = services
        self.folder = folder
        self.size = size
        self.ledger = Ledger(f"u{seed}")
        self.refused: set[str] = set()
        self.figures: dict[str, Any] = {}
        self.problems: list[str] = []
        self._loads: list[Load] = []
        self._ends = ExitStack()
        self._client: Client | None = None
        self._own_lane = self.ledger.open_lane().number

    @property
    def base_url(self) -> str:
        """Where the HTTP services listen."""
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def clickhouse(self) -> Client:
        """A client of ClickHouse, past the proxies."""
        if self._client is None:
            self._client = connect_sync(self.settings)
            self._ends.callback(self._client.close)
        return self._client

    @property
    def made(self) -> int:
        """How many events the loads have made."""
        return sum(load.made for load in self._loads)

    @property
    def acknowledged(self) -> int:
        """How many events have been acknowledged so far."""
        return self.ledger.totals()[Outcome.ACKNOWLEDGED]

    def found(self, problem: str) -> None:
        """Note something that is wrong, in a sentence; the trial goes on and has failed."""
        self.problems.append(problem)

    @property
    def topics(self) -> Topics:
        """The topics of the pipeline."""
        return Topics.of(self.settings.namespace)

    def start_load(self, volume: Volume) -> Load:
        """Begin a load; it ends when the scenario has, or when it is stopped."""
        outside = self.servers.settings_of(OUTSIDE, self.settings)
        seed = f"{self.scenario.name}:{self.seed}:{len(self._loads)}"
        load = Load(outside, self.base_url, self.ledger, seed, volume)
        load.start()
        self._loads.append(load)
        return load

    def lose_answers(self, way: Proxy, to: Lost, count: int = 1) -> None:
        """Let a proxy swallow the answers to the next requests of a kind, and wait until it has."""
        lost = way.lost
        way.lose_answers(to, count)
        self.wait_for(lambda: way.lost >= lost + count, f"{count} answers are lost", 60)
        self.figures["answers lost"] = self.figures.get("answers lost", 0) + count

    def post(self, event: str, user: int = 0) -> int:
        """Send an event of a name over HTTP, once; return the status, 0 where there was none."""
        lane = self.ledger.lanes[self._own_lane]
        number = lane.begin(user)
        lane.attempts += 1
        sent = {
            "event": event,
            "user_id": self.ledger.user_id(user),
            "event_id": lane.event_id(number),
        }
        try:
            status = httpx.post(f"{self.base_url}/track", json=sent, timeout=10).status_code
        except httpx.TransportError:
            return 0
        if event in self.refused:
            lane.refuse(number)  # it is put aside, and counted as that
        elif status == 200:
            lane.note(number, Outcome.ACKNOWLEDGED)
        return status

    def wait_for_events(self, more: int, seconds: float = _EVENTS_WITHIN_S) -> None:
        """Wait until the loads have made so many more events."""
        until = self.made + more
        self.wait_for(lambda: self.made >= until, f"{more} events", seconds)

    def wait_for_rows(self, count: int, seconds: float = _EVENTS_WITHIN_S) -> None:
        """Wait until ClickHouse holds so many events, in every partition some."""
        select = "SELECT count() * (uniqExact(kafka_partition) = {n:UInt32}) FROM events"
        parameters = {"n": self.settings.partitions}
        self.wait_for(
            lambda: int(self.clickhouse.command(select, parameters)) >= count, "rows", seconds
        )

    def wait_for_more_rows(self, more: int) -> None:
        """Wait until ClickHouse holds so many more events than now."""
        self.wait_for_rows(int(self.clickhouse.command("SELECT count() FROM events")) + more)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait until a condition holds.

        Raises:
            TimeoutError: it does not.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.05)

    def sleep(self, least_s: float, most_s: float = 0.0) -> None:
        """Let the load go on for a while; between two numbers the seed chooses."""
        time.sleep(max(least_s, self.random.uniform(least_s, max(least_s, most_s))))

    def add_service(self, name: str, failpoint: str = "") -> Service:
        """Start one more service."""
        service = self.services.add(name)
        service.start(failpoint)
        return service

    def repair(self) -> None:
        """Do what the writer asks for where ClickHouse has lost rows, and say so."""
        writers = [each for each in self.services.all() if each.command == "writer"]
        done = repair_if_needed(writers, self.settings, self.folder)
        if done is None:
            return
        self.figures["repairs"] = self.figures.get("repairs", 0) + 1
        if done.returncode != 0:
            self.found(f"track repair ended with {done.returncode} and said: {done.stdout[-400:]}")

    def end_loads(self) -> None:
        """Stop all loads and wait for their last outcomes."""
        for load in self._loads:
            load.stop()
        for load in self._loads:
            load.wait(_LOAD_ENDS_WITHIN_S)

    def close(self) -> None:
        """Let go of what the trial holds."""
        for load in self._loads:
            load.stop()
        self._ends.close()


def run_trial(
    scenario: Scenario,
    servers: FaultyServers,
    seed: int,
    folder: Path,
    size: Size = Size(),  # it never changes
) -> Result:
    """Run a scenario and judge it; the folder keeps the services' logs."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    servers.heal()
    settings = _settings(scenario, servers, folder)
    asyncio.run(run_migrations(settings))
    services = Services(folder, lambda service: servers.settings_of(service, settings))
    trial = Trial(scenario, seed, settings, servers, services, folder, size)
    try:
        problems = _play_and_judge(trial)
        figures = {**_figures(trial), **trial.figures}
    finally:
        servers.heal()
        trial.close()
        services.kill()
    _drop(settings)
    return Result(scenario.name, seed, problems, figures, time.monotonic() - began)


def _settings(scenario: Scenario, servers: FaultyServers, folder: Path) -> Settings:
    return dataclasses.replace(
        Settings(),
        **{
            "home": folder,
            "port": free_ports(),
            "kafka": servers.kafka,
            "clickhouse": servers.clickhouse,
            "namespace": f"f_{secrets.token_hex(5)}",
            "partitions": PARTITIONS,
            "session_timeout_ms": SESSION_TIMEOUT_MS,
            **scenario.settings,
        },  # type: ignore[arg-type]
    )


def _play_and_judge(trial: Trial) -> list[str]:
    scenario, kills = trial.scenario, trial.servers.clickhouse_kills
    if scenario.before is not None:
        scenario.before(trial)
    for name in scenario.services:
        trial.services.add(name).start()
    for service in trial.services.all():
        service.wait_until_ready()
    if scenario.volume is not None:
        trial.start_load(scenario.volume)
        trial.wait_for_events(100)
    scenario.play(trial)
    if scenario.volume is not None and trial.made < scenario.events:
        trial.wait_for_events(scenario.events - trial.made)
    trial.servers.heal()
    trial.end_loads()
    if trial.servers.clickhouse_kills > kills:
        trial.repair()
    for name in {each.partition("-")[0] for each in scenario.services}:
        trial.services[name].wait_until_ready()
    oracle, evidence = asyncio.run(
        gather_evidence(
            trial.settings,
            trial.ledger,
            base_url=trial.base_url,
            refused=trial.refused,
        )
    )
    evidence.ends = [said for each in trial.services.all() for said in each.wrong_ends()]
    evidence.rss_mb = {
        each.name: (each.rss_mb, rss_bound_mb(each.command, evidence.records))
        for each in trial.services.all()
    }
    ways = oracle.ways()
    trial.figures |= {
        "records": evidence.records,
        **ways,
        "sessions": len(oracle.sessions_by_id),
    }
    return trial.problems + judge(trial.ledger, oracle, evidence)


def _figures(trial: Trial) -> dict[str, object]:
    totals = trial.ledger.totals()
    services = trial.services.all()
    return {
        "events": sum(totals.values()),
        **{each.name.lower(): totals[each] for each in Outcome},
        "attempts": trial.ledger.attempts,
        "ends": {each.name: each.ends for each in services if each.ends},
        "rss_mb": {each.name: round(each.rss_mb) for each in services},
    }


def _drop(settings: Settings) -> None:
    """Drop the tables: ClickHouse keeps merging what is there; the topics stay."""
    client = connect_sync(settings)
    client.command(f"DROP DATABASE IF EXISTS {settings.namespace}")
    client.close()
