"""`track up`: the whole pipeline on this machine, from nothing to addresses, until Ctrl-C.

In: the settings. Out: an exit code, and lines that say what happens. Never: a server started before
all checks have passed, or a process left behind.
"""

from __future__ import annotations

import ctypes
import dataclasses
import http.client
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from cli.addresses import Stack, publish_stack, withdraw_stack
from cli.folder import AlreadyRunningError, clear_folder, sole_owner
from cli.listening import open_doors
from cli.metrics_ports import (
    UP,
    busy_metrics_ports,
    http_names,
    metrics_ports,
    processor_names,
    publish_targets,
    withdraw_targets,
)
from cli.servers import local_ports, local_servers
from cli.supervisor import (
    EXIT_CONFIGURATION,
    RefusedError,
    Say,
    StopRequestedError,
    StopRequests,
    Supervisor,
)
from contracts.metrics import Service
from deploy.local.clickhouse import ADMIN, CHECK, QUERY, WRITER
from deploy.local.machine import busy_ports, folder_problems, platform_problems
from deploy.local.processes import Program, ServerError, started_at
from runtime.access.guards import open_ring
from runtime.access.key_ring import KeyRing
from runtime.http.exposure import require_guarded
from runtime.http.tls import trusting
from runtime.monitoring.exposition import expose
from runtime.ready import READY_FILE
from runtime.settings import Settings
from runtime.startup import StartupError

_START_SECONDS = 180
_PR_SET_PDEATHSIG = 1
_CLICKHOUSE = "TRACK_CLICKHOUSE"
# Which user of the local ClickHouse each service is.
_USER_OF = {"migrate": ADMIN, "writer": WRITER, "sessionizer": CHECK, "serve": QUERY}
# The command that stands beside the Python of the environment.
TRACK = Path(sys.executable).with_name("track")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be started, and under which addresses it will be found.

    Attributes:
        clickhouse: the URL that each service reaches ClickHouse by, its user and password included.
    """

    settings: Settings
    home: Path
    track: Path
    environment: Mapping[str, str]
    clickhouse: Mapping[str, str]
    ring: KeyRing
    servers: tuple[Program, ...]
    stack: Stack
    metrics: Mapping[str, int]


def run_up(settings: Settings, *, ends_with_parent: bool = False, track: Path = TRACK) -> int:
    """Start the stack, keep it running, stop it when asked; return the exit code.

    Args:
        settings: what to start, where and under which ports.
        ends_with_parent: ask the kernel for SIGTERM when the starter dies, as make may be killed.
        track: the program whose subcommands are the services.
    """
    say, requests = _speaker(), StopRequests()
    requests.listen()
    if ends_with_parent:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    home = settings.home.absolute()
    try:
        _check(platform_problems(clickhouse=not settings.clickhouse))
        _check(folder_problems([(home, "data and logs")]))
        ring = open_ring(settings)
        require_guarded(settings, ring)
        with sole_owner(home, requests, say):
            clear_folder(home, say)
            _check(_port_problems(settings))
            open_doors(settings)  # a mistake is told before anything is started
            return _run(_plan(settings, home, track, ring, say), requests, say)
    except StopRequestedError:
        return 0
    except (ServerError, AlreadyRunningError) as error:
        return _refuse(error, say)
    except StartupError as error:
        return _refuse(RefusedError(str(error)), say)


def _refuse(error: Exception, say: Say) -> int:
    """Say what went wrong; return the exit code for it."""
    say(f"[red]✗[/] {escape(str(error))}")
    return EXIT_CONFIGURATION if isinstance(error, RefusedError) else 1


def _run(plan: _Plan, requests: StopRequests, say: Say) -> int:
    home = plan.home
    supervisor = Supervisor(home / "run", requests, say)
    began = time.monotonic()
    try:
        expose(_exposed(plan, UP), Service.UP, supervisor.samples)
        supervisor.start_stage(plan.servers, _START_SECONDS)
        supervisor.run_once(_service(plan, "migrate", "migrate"), _START_SECONDS)
        supervisor.start_stage(_processors(plan), _START_SECONDS)
        supervisor.start_stage(_http(plan), _START_SECONDS)
        publish_targets(home, _reachable(plan.settings.metrics_host), plan.metrics)
        publish_stack(home, plan.stack)  # last: who finds it finds everything of the stack
        say(f"\nEverything answers, {time.monotonic() - began:.1f} s after the start.\n")
        say(_addresses(plan, datetime.now(UTC)))
        supervisor.watch()
    except StopRequestedError:
        pass
    except (ServerError, RefusedError, StartupError) as error:
        return _refuse(error, say)
    finally:
        say("\nStopping …")
        (home / "run" / "stopping").touch()
        withdraw_stack(home)
        withdraw_targets(home)
        supervisor.stop()
        say("Stopped; nothing is left running.")
    return 0


def _plan(settings: Settings, home: Path, track: Path, ring: KeyRing, say: Say) -> _Plan:
    """Get the servers' files and decide on programs, addresses and the services' environment."""
    servers = local_servers(settings, home, say)
    clickhouse = {service: servers.clickhouse[user] for service, user in _USER_OF.items()}
    stack = Stack(
        pid=os.getpid(),
        started=started_at(os.getpid()),
        http=f"{_scheme(settings)}://{_reachable(settings.host)}:{settings.port}",
        kafka=settings.kafka_servers.addresses,
        clickhouse=clickhouse["migrate"],
        analyst=servers.analyst,
        namespace=settings.namespace,
        partitions=servers.partitions,
        kafka_security=settings.kafka_security,
        kafka_user=settings.kafka_user,
        kafka_password=settings.kafka_password,
        kafka_ca=settings.kafka_ca,
        certificate=_absolute(settings.tls_certificate),
        exporter=servers.exporter,
    )
    decided = {
        "TRACK_HOME": str(home),
        "TRACK_KAFKA": settings.kafka_servers.addresses,
        "TRACK_PARTITIONS": str(servers.partitions),
    }
    # A variable and the one that names its file must not both be set.
    replaced = {f"{name}_FILE" for name in (*decided, _CLICKHOUSE)}
    foreign = {name: value for name, value in os.environ.items() if name not in replaced}
    return _Plan(
        settings,
        home,
        track,
        {**foreign, **decided},
        clickhouse,
        ring,
        servers.programs,
        stack,
        metrics_ports(settings),
    )


def _processors(plan: _Plan) -> list[Program]:
    names = processor_names(plan.settings)
    return [_service(plan, kind, name) for kind in names for name in names[kind]]


def _http(plan: _Plan) -> list[Program]:
    return [
        _service(plan, "serve", name, lambda: _is_ready_over_http(plan))
        for name in http_names(plan.settings)
    ]


def _service(
    plan: _Plan, command: str, name: str, answers: Callable[[], bool] = lambda: True
) -> Program:
    """Return the program of one subcommand: it works when its ready file is there, and it answers.

    Processes that share a port answer for each other, so that an answer alone says too little.
    """
    ready = plan.home / "run" / f"{name}.ready"
    return Program(
        name=name,
        command=(str(plan.track), command),
        environment={
            **plan.environment,
            _CLICKHOUSE: plan.clickhouse[command],
            READY_FILE: str(ready),
            "TRACK_METRICS_PORT": str(plan.metrics.get(name, 0)),
        },
        log=plan.home / "logs" / f"{name}.log",
        is_ready=lambda: ready.exists() and answers(),
        prepare=lambda: ready.unlink(missing_ok=True),
    )


def _exposed(plan: _Plan, name: str) -> Settings:
    """Return the settings with the port for Prometheus of one process."""
    return dataclasses.replace(plan.settings, metrics_port=plan.metrics[name])


def _is_ready_over_http(plan: _Plan) -> bool:
    try:
        connection = _connection(plan)
    except OSError:  # the certificate is just being replaced
        return False
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connection(plan: _Plan) -> http.client.HTTPConnection:
    host, port = _reachable(plan.settings.host).strip("[]"), plan.settings.port
    if not plan.stack.certificate:
        return http.client.HTTPConnection(host, port, timeout=2)
    trusted = trusting(Path(plan.stack.certificate))
    return http.client.HTTPSConnection(host, port, timeout=2, context=trusted)


def _scheme(settings: Settings) -> str:
    return "https" if settings.tls_certificate else "http"


def _absolute(file: str) -> str:
    return str(Path(file).absolute()) if file else ""


def _reachable(host: str) -> str:
    """The address by which this machine reaches what listens on `host`."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _port_problems(settings: Settings) -> list[str]:
    local = local_ports(settings)
    taken = {port: name for name, port in local.items()}
    if settings.port in taken:
        return [f"TRACK_PORT and {taken[settings.port]} are both {settings.port}; change one."]
    http_port = {"TRACK_PORT": settings.port}
    return (
        busy_ports(settings.host, http_port)
        + busy_ports("127.0.0.1", local)
        + busy_metrics_ports(settings, {settings.port, *taken})
    )


def _check(problems: list[str]) -> None:
    if problems:
        raise ServerError("\n".join(problems))


def _addresses(plan: _Plan, now: datetime) -> str:
    """The addresses, and three requests to paste: they make a session of three minutes."""
    stack, base = plan.stack, plan.stack.http
    play, stop = now - timedelta(minutes=3), now
    settings = plan.settings
    shown = ' -H "Authorization: Bearer $TRACK_KEY"' if plan.ring.keys is not None else ""
    lines = [f"  HTTP        {base}   (POST /track, GET /metrics, GET /sessions)"]
    lines.append(f"  Keys        {require_guarded(settings, plan.ring)}")
    lines.append(f"  Kafka       {stack.kafka}   (topic {stack.namespace}.events)")
    if stack.analyst:
        lines.append(f"  ClickHouse  {stack.analyst}/?database={stack.namespace}   (read-only)")
        user, _, password = stack.analyst.removeprefix("http://").partition("@")[0].partition(":")
        lines.append(
            f"              native 127.0.0.1:{settings.clickhouse_native_port}, user {user}, "
            f"password {password}"
        )
    host, ports = _reachable(settings.metrics_host), plan.metrics.values()
    lines.append(
        f"  Metrics     http://{host}:{min(ports)}/metrics and so on up to port {max(ports)}   "
        "(for Prometheus)"
    )
    lines.append(f"  Logs        {plan.home / 'logs'}")
    lines += ["", "Track a play, track its stop, and look at the session:", ""]
    for name, at in ((settings.opens, play), (settings.closes, stop)):
        body = f'{{"event":"{name}","user_id":"ada","timestamp":"{at:%Y-%m-%dT%H:%M:%SZ}"}}'
        lines.append(
            f"  curl {base}/track{shown} -H 'Content-Type: application/json' -d '{body}' -w '\\n'"
        )
    query = f"start_date={play:%Y-%m-%d}&end_date={stop:%Y-%m-%d}&user_id=ada"
    ask = f"  sleep 1; curl '{base}/sessions?{query}'{shown} -w '\\n'"
    lines += [ask, "", "Ctrl-C stops everything."]
    return escape("\n".join(lines))


def _speaker() -> Say:
    """Return a printer that minds neither a terminal without the signs nor a closed pipe."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        try:
            console.print(line)
        except OSError:  # nobody listens any more; the stack runs on
            console.file = Path(os.devnull).open("w")  # noqa: SIM115

    return say
