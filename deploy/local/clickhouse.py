"""The local ClickHouse: one server on the loopback address, with its users.

In: a folder for its data, two ports, a namespace (the database's name). Out: a `Program` for the
stack's supervisor, or a started server. Never: a table (`track migrate` makes them).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from deploy.local import downloads
from deploy.local.machine import free_port
from deploy.local.processes import Program, Running, start, wait_until_ready
from runtime.settings import ANALYST_LIMITS, Settings

START_SECONDS = 180
# A user for each task; users.xml says what each may do.
ADMIN, WRITER, QUERY, CHECK, EXPORTER, ANALYST = USERS = (
    "track", "writer", "query", "check", "exporter", "analyst"
)  # fmt: skip
Passwords = Mapping[str, str]
Limits = Mapping[str, int]
_GRACE_S = 15
_HERE = Path(__file__).parent
# The server's own session is the one that has no user's name.
_STOP = "KILL QUERY WHERE user = '' ASYNC"


@dataclass(frozen=True, slots=True)
class Ports:
    """The two ports of a ClickHouse."""

    http: int
    native: int


@dataclass(frozen=True, slots=True)
class ClickHouse:
    """A started local ClickHouse: its users' URLs by their names, the administrator's for short."""

    urls: Mapping[str, str]
    ports: Ports
    running: Running

    @property
    def address(self) -> str:
        """URL of the user who may do everything that we do."""
        return self.urls[ADMIN]

    def stop(self) -> None:
        """End it in good order; its data stay."""
        self.running.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.running.kill()


def start_clickhouse(
    folder: Path,
    ports: Ports | None = None,
    namespace: str = "",
    say: downloads.Say = lambda line: None,
    limits: Limits | None = None,
) -> ClickHouse:
    """Start ClickHouse and wait until it answers.

    Args:
        folder: where its data, log and notes go.
        ports: its ports; by default free ones.
        namespace: the database that the users may use; empty gives the administrator all of them.
        say: takes a line for people when something has to be fetched.
        limits: what a question of the analyst may take, as of `analyst_limits`; by default the
            settings' defaults.

    Raises:
        ServerError: its files could not be had, or it did not come up.
    """
    ports = ports or Ports(free_port(), free_port())
    program = clickhouse_program(
        folder,
        ports,
        namespace,
        log=folder / "clickhouse.log",
        library=downloads.clickhouse_library(say),
        limits=limits,
    )
    running = start(program, folder / "run")
    try:
        wait_until_ready(running, START_SECONDS)
    except BaseException:
        running.kill()
        raise
    return ClickHouse(user_urls(ports.http, keep_passwords(folder)), ports, running)


def user_urls(http_port: int, passwords: Passwords) -> dict[str, str]:
    """Return the URL with which each user reaches the local ClickHouse."""
    return {user: f"http://{user}:{quote(passwords[user])}@127.0.0.1:{http_port}" for user in USERS}


def analyst_limits(settings: Settings) -> Limits:
    """Return what the analyst's questions may take, by the names that users.xml has for it."""
    limits = {name: int(getattr(settings, name)) for name in ANALYST_LIMITS}
    # Two questions at once may be large, if not both as large as one alone.
    return {**limits, "analyst_memory_of_all_bytes": limits["analyst_memory_bytes"] * 3 // 2}


def clickhouse_program(
    folder: Path,
    ports: Ports,
    namespace: str,
    *,
    log: Path,
    library: Path,
    limits: Limits | None = None,
) -> Program:
    """Return the program that serves ClickHouse from the folder on the ports."""
    folder = folder.absolute()
    passwords = keep_passwords(folder)
    bounds = analyst_limits(Settings()) if limits is None else limits
    return Program(
        name="clickhouse",
        command=(
            sys.executable, "-I", str(_HERE / "clickhouse_process.py"), str(library),
            str(folder / "config.xml"), str(folder / "data"), str(ports.http), str(ports.native),
            str(log.parent.absolute()),
        ),
        # It can read its environment, so there is nothing in it but what its stack is found by.
        environment={"TRACK_HOME": os.environ.get("TRACK_HOME", "")},
        log=log,
        folder=folder / "work",
        is_ready=lambda: _ask(ports.http, passwords, "SELECT 1") == b"1\n",
        prepare=lambda: _prepare(folder, namespace, passwords, bounds, log.absolute()),
        ask_to_stop=lambda pid: _ask_to_stop(ports.http, passwords, pid),
        grace_s=_GRACE_S,
        dies_by=signal.SIGKILL,
    )  # fmt: skip


def keep_passwords(folder: Path) -> Passwords:
    """Return the passwords of the users, made and kept (readable by their owner alone) if new.

    A folder of an earlier version has two, and one of them under another name.
    """
    path = folder / "passwords.json"
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if "service" in kept:
        kept[ADMIN] = kept.pop("service")
    passwords = {user: kept.get(user) or secrets.token_hex(16) for user in USERS}
    if passwords != kept:
        write_secret(path, json.dumps(passwords))
    return passwords


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _ask(http_port: int, passwords: Passwords, query: str) -> bytes:
    """Return the answer to a query, or nothing if there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=2)
    headers = {"X-ClickHouse-User": ADMIN, "X-ClickHouse-Key": passwords[ADMIN]}
    try:
        connection.request("POST", "/", query.encode(), headers)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def _ask_to_stop(http_port: int, passwords: Passwords, pid: int) -> None:
    if not _ask(http_port, passwords, _STOP):
        os.kill(pid, signal.SIGKILL)  # it does not answer, so nothing gentler can reach it


def _prepare(folder: Path, namespace: str, passwords: Passwords, limits: Limits, log: Path) -> None:
    """Write the settings and the users; make the working folder an empty one.

    The library reads a `config.xml` that it finds in its working folder.
    """
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    users = (_HERE / "users.xml").read_text()
    users = users.replace("{admin}", f"{namespace}.*" if namespace else "*.*")
    users = users.replace("{database}", namespace or ADMIN)
    for user in USERS:
        users = users.replace(f"{{{user}_sha256}}", _sha256(passwords[user]))
    for name, limit in limits.items():
        users = users.replace(f"{{{name}}}", str(limit))
    write_secret(folder / "users.xml", users)
    config = (_HERE / "config.xml").read_text()
    (folder / "config.xml").write_text(
        config.replace("{users}", escape(str(folder / "users.xml"))).replace(
            "{log}", escape(str(log.with_name("clickhouse-server.log")))
        )
    )


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
