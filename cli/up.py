"""`track up`: the whole pipeline on this machine, from nothing to addresses, until Ctrl-C.

In: the settings. Out: an exit code, and lines that say what happens. Never: a server started before
all checks have passed, or a process left behind.
"""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from cli.addresses import Stack, find_stack, publish_stack, withdraw_stack
from cli.supervisor import (
    EXIT_CONFIGURATION,
    RefusedError,
    Say,
    StopRequestedError,
    StopRequests,
    Supervisor,
)
from deploy.local import downloads
from deploy.local.clickhouse import (
    ADMIN,
    ANALYST,
    CHECK,
    QUERY,
    WRITER,
    Ports,
    clickhouse_program,
    keep_passwords,
    user_urls,
)
from deploy.local.clickhouse_process import NOT_CONFINED
from deploy.local.kafka import kafka_program
from deploy.local.landlock import landlock_version
from deploy.local.machine import busy_ports, folder_problems, platform_problems
from deploy.local.processes import Program, ServerError, clear_left_over, started_at
from runtime.ready import READY_FILE
from runtime.settings import Settings

_MOST_LOCAL_PARTITIONS = 4
_START_SECONDS = 90
_STOPPING_SECONDS = 60
_PR_SET_PDEATHSIG = 1
_CLICKHOUSE = "TRACK_CLICKHOUSE"
# Which user of the local ClickHouse each service is.
_USER_OF = {"migrate": ADMIN, "writer": WRITER, "sessionizer": CHECK, "serve": QUERY}
# The command that stands beside the Python of the environment.
TRACK = Path(sys.executable).with_name("track")


class AlreadyRunningError(Exception):
    """Another `track up` has the folder; the message says which process."""


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
    servers: tuple[Program, ...]
    stack: Stack


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
        with _sole_owner(home, requests, say):
            _clear(home, say)
            _check(_port_problems(settings))
            return _run(_plan(settings, home, track, say), requests, say)
    except StopRequestedError:
        return 0
    except (ServerError, AlreadyRunningError) as error:
        return _refuse(error, say)


def _refuse(error: Exception, say: Say) -> int:
    """Say what went wrong; return the exit code for it."""
    say(f"[red]✗[/] {escape(str(error))}")
    return EXIT_CONFIGURATION if isinstance(error, RefusedError) else 1


def _run(plan: _Plan, requests: StopRequests, say: Say) -> int:
    home = plan.home
    supervisor = Supervisor(home / "run", requests, say)
    began = time.monotonic()
    try:
        supervisor.start_stage(plan.servers, _START_SECONDS)
        supervisor.run_once(_service(plan, "migrate", "migrate"), _START_SECONDS)
        supervisor.start_stage(_processors(plan), _START_SECONDS)
        supervisor.start_stage(_http(plan), _START_SECONDS)
        publish_stack(home, plan.stack)
        say(f"\nEverything answers, {time.monotonic() - began:.1f} s after the start.\n")
        say(_addresses(plan, datetime.now(UTC)))
        supervisor.watch()
    except StopRequestedError:
        pass
    except (ServerError, RefusedError) as error:
        return _refuse(error, say)
    finally:
        say("\nStopping …")
        (home / "run" / "stopping").touch()
        withdraw_stack(home)
        supervisor.stop()
        say("Stopped; nothing is left running.")
    return 0


def _plan(settings: Settings, home: Path, track: Path, say: Say) -> _Plan:
    """Get the servers' files and decide on programs, addresses and the services' environment."""
    servers: list[Program] = []
    clickhouse, analyst = dict.fromkeys(_USER_OF, settings.clickhouse), ""
    partitions = settings.partitions
    if not settings.kafka:
        jars = downloads.kafka_jars(say)
        folder, log = home / "kafka", home / "logs" / "kafka.log"
        if not os.environ.get("TRACK_PARTITIONS"):
            partitions = local_partitions(folder, os.cpu_count() or 1)
        servers.append(kafka_program(folder, settings.kafka_port, log, jars))
    if not settings.clickhouse:
        library = downloads.clickhouse_library(say)
        folder, log = home / "clickhouse", home / "logs" / "clickhouse.log"
        ports = Ports(settings.clickhouse_port, settings.clickhouse_native_port)
        servers.append(
            clickhouse_program(folder, ports, settings.namespace, log=log, library=library)
        )
        urls = user_urls(settings.clickhouse_port, keep_passwords(folder))
        clickhouse = {service: urls[user] for service, user in _USER_OF.items()}
        analyst = urls[ANALYST]
        if not landlock_version():
            say(f"[yellow]![/] {NOT_CONFINED}")
    stack = Stack(
        pid=os.getpid(),
        started=started_at(os.getpid()),
        http=f"http://{_reachable(settings.host)}:{settings.port}",
        kafka=settings.kafka_servers.addresses,
        clickhouse=clickhouse["migrate"],
        analyst=analyst,
        namespace=settings.namespace,
        partitions=partitions,
        kafka_security=settings.kafka_security,
        kafka_user=settings.kafka_user,
        kafka_password=settings.kafka_password,
        kafka_ca=settings.kafka_ca,
    )
    decided = {
        "TRACK_HOME": str(home),
        "TRACK_KAFKA": settings.kafka_servers.addresses,
        "TRACK_PARTITIONS": str(partitions),
    }
    # A variable and the one that names its file must not both be set.
    replaced = {f"{name}_FILE" for name in (*decided, _CLICKHOUSE)}
    foreign = {name: value for name, value in os.environ.items() if name not in replaced}
    return _Plan(settings, home, track, {**foreign, **decided}, clickhouse, tuple(servers), stack)


def local_partitions(kafka: Path, cores: int) -> int:
    """Return how many partitions the topics of the local Kafka have: one a core, at most four.

    Each partition has transactions and inserts of its own, which on few cores cost more than they
    give. The number is chosen when Kafka's folder is made, and kept there: topics keep it too. A
    folder that keeps none was made when it was always four.
    """
    note = kafka / "partitions"
    if not note.exists():
        chosen = _MOST_LOCAL_PARTITIONS if kafka.exists() else cores
        kafka.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{min(_MOST_LOCAL_PARTITIONS, chosen)}\n")
    return int(note.read_text())


def _processors(plan: _Plan) -> list[Program]:
    kinds = {"sessionizer": plan.settings.sessionizers, "writer": plan.settings.writers}
    return [
        _service(plan, kind, name) for kind, count in kinds.items() for name in _names(kind, count)
    ]


def _http(plan: _Plan) -> list[Program]:
    host, port = _reachable(plan.settings.host).strip("[]"), plan.settings.port
    return [
        _service(plan, "serve", name, lambda: _is_ready_over_http(host, port))
        for name in _names("http", plan.settings.http_workers)
    ]


def _service(
    plan: _Plan, command: str, name: str, is_ready: Callable[[], bool] | None = None
) -> Program:
    """Return the program of one subcommand; without a check of its own it has its ready file."""
    ready = plan.home / "run" / f"{name}.ready"
    return Program(
        name=name,
        command=(str(plan.track), command),
        environment={
            **plan.environment,
            _CLICKHOUSE: plan.clickhouse[command],
            READY_FILE: str(ready),
        },
        log=plan.home / "logs" / f"{name}.log",
        is_ready=is_ready or ready.exists,
        prepare=lambda: ready.unlink(missing_ok=True),
    )


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}-{number}" for number in range(1, count + 1)]


def _is_ready_over_http(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """The address by which this machine reaches what listens on `host`."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _port_problems(settings: Settings) -> list[str]:
    local = {}
    if not settings.kafka:
        local["TRACK_KAFKA_PORT"] = settings.kafka_port
    if not settings.clickhouse:
        local["TRACK_CLICKHOUSE_PORT"] = settings.clickhouse_port
        local["TRACK_CLICKHOUSE_NATIVE_PORT"] = settings.clickhouse_native_port
    taken = {port: name for name, port in local.items()}
    if settings.port in taken:
        return [f"TRACK_PORT and {taken[settings.port]} are both {settings.port}; change one."]
    http_port = {"TRACK_PORT": settings.port}
    return busy_ports(settings.host, http_port) + busy_ports("127.0.0.1", local)


def _check(problems: list[str]) -> None:
    if problems:
        raise ServerError("\n".join(problems))


@contextmanager
def _sole_owner(home: Path, requests: StopRequests, say: Say) -> Iterator[None]:
    """Hold the folder's lock, which the kernel lets go of when this process dies."""
    run = home / "run"
    run.mkdir(parents=True, exist_ok=True)
    with (run / "lock").open("a+") as lock:
        _lock(lock.fileno(), home, requests, say)
        (run / "stopping").unlink(missing_ok=True)
        yield


def _lock(lock: int, home: Path, requests: StopRequests, say: Say) -> None:
    """Take the lock; wait where the one who has it is just stopping."""
    deadline, told = time.monotonic() + _STOPPING_SECONDS, False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stopping = (home / "run" / "stopping").exists()
            if not stopping or time.monotonic() > deadline:
                raise AlreadyRunningError(_already_running(home)) from None
        else:
            return
        if not told:
            say("The stack of this folder is stopping; waiting for its end …")
            told = True
        if requests.asked:
            raise StopRequestedError
        time.sleep(0.1)


def _already_running(home: Path) -> str:
    stack = find_stack(home)
    which = f" (pid {stack.pid}, {stack.http})" if stack else ""
    return (
        f"A stack runs in {home} already{which}; stop it with Ctrl-C there, or set TRACK_HOME and "
        "the ports to start another one."
    )


def _clear(home: Path, say: Say) -> None:
    """End what a killed run left, and say so."""
    stale = (home / "stack.json").exists() or any((home / "run").glob("*.json"))
    left = clear_left_over(home / "run")
    withdraw_stack(home)
    if left:
        say(f"[yellow]![/] An earlier run was killed; ended what it left: {', '.join(left)}.")
    elif stale:
        say("[yellow]![/] An earlier run was killed; none of its processes was left.")


def _addresses(plan: _Plan, now: datetime) -> str:
    """The addresses, and three requests to paste: they make a session of three minutes."""
    stack, base = plan.stack, plan.stack.http
    play, stop = now - timedelta(minutes=3), now
    settings = plan.settings
    lines = [f"  HTTP        {base}   (POST /track, GET /metrics, GET /sessions)"]
    lines.append(f"  Kafka       {stack.kafka}   (topic {stack.namespace}.events)")
    if stack.analyst:
        lines.append(f"  ClickHouse  {stack.analyst}/?database={stack.namespace}   (read-only)")
        user, _, password = stack.analyst.removeprefix("http://").partition("@")[0].partition(":")
        lines.append(
            f"              native 127.0.0.1:{settings.clickhouse_native_port}, user {user}, "
            f"password {password}"
        )
    lines.append(f"  Logs        {plan.home / 'logs'}")
    lines += ["", "Track a play, track its stop, and look at the session:", ""]
    for name, at in ((settings.opens, play), (settings.closes, stop)):
        body = f'{{"event":"{name}","user_id":"ada","timestamp":"{at:%Y-%m-%dT%H:%M:%SZ}"}}'
        lines.append(
            f"  curl {base}/track -H 'Content-Type: application/json' -d '{body}' -w '\\n'"
        )
    query = f"start_date={play:%Y-%m-%d}&end_date={stop:%Y-%m-%d}&user_id=ada"
    shown = f"  sleep 1; curl '{base}/sessions?{query}' -w '\\n'"
    lines += [shown, "", "Ctrl-C stops everything."]
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
