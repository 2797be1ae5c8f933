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
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from deploy.local import downloads
from deploy.local.machine import free_port
from deploy.local.processes import Program, Running, start, wait_until_ready

START_SECONDS = 60
SERVICE_USER = "track"
ANALYST_USER = "analyst"
_GRACE_S = 15
_HERE = Path(__file__).parent
# The server's own session is the one that has no user's name.
_STOP = "KILL QUERY WHERE user = '' ASYNC"


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of the two users; made once per stack."""

    service: str
    analyst: str


@dataclass(frozen=True, slots=True)
class Ports:
    """The two ports of a ClickHouse."""

    http: int
    native: int


@dataclass(frozen=True, slots=True)
class ClickHouse:
    """A started local ClickHouse."""

    address: str
    analyst_address: str
    ports: Ports
    running: Running

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
) -> ClickHouse:
    """Start ClickHouse and wait until it answers.

    Args:
        folder: where its data, log and notes go.
        ports: its ports; by default free ones.
        namespace: the database that the users may use; empty gives the services all of them.
        say: takes a line for people when something has to be fetched.

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
    )
    running = start(program, folder / "run")
    try:
        wait_until_ready(running, START_SECONDS)
    except BaseException:
        running.kill()
        raise
    passwords = keep_passwords(folder)
    return ClickHouse(
        address=service_url(ports.http, passwords),
        analyst_address=analyst_url(ports.http, passwords),
        ports=ports,
        running=running,
    )


def service_url(http_port: int, passwords: Passwords) -> str:
    """Return the URL with which the services reach the local ClickHouse."""
    return f"http://{SERVICE_USER}:{quote(passwords.service)}@127.0.0.1:{http_port}"


def analyst_url(http_port: int, passwords: Passwords) -> str:
    """Return the URL with which an analyst reads the local ClickHouse."""
    return f"http://{ANALYST_USER}:{quote(passwords.analyst)}@127.0.0.1:{http_port}"


def clickhouse_program(
    folder: Path, ports: Ports, namespace: str, *, log: Path, library: Path
) -> Program:
    """Return the program that serves ClickHouse from the folder on the ports."""
    folder = folder.absolute()
    passwords = keep_passwords(folder)
    return Program(
        name="clickhouse",
        command=(
            sys.executable, "-I", str(_HERE / "clickhouse_process.py"), str(library),
            str(folder / "config.xml"), str(folder / "data"), str(ports.http), str(ports.native),
        ),
        environment=dict(os.environ),
        log=log,
        folder=folder / "work",
        is_ready=lambda: _ask(ports.http, passwords, "SELECT 1") == b"1\n",
        prepare=lambda: _prepare(folder, namespace, passwords, log.absolute()),
        ask_to_stop=lambda pid: _ask_to_stop(ports.http, passwords, pid),
        grace_s=_GRACE_S,
        dies_by=signal.SIGKILL,
    )  # fmt: skip


def keep_passwords(folder: Path) -> Passwords:
    """Return the passwords of the stack, made and kept (readable by its owner alone) if new."""
    path = folder / "passwords.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        made = {"service": secrets.token_hex(16), "analyst": secrets.token_hex(8)}
        write_secret(path, json.dumps(made))
    return Passwords(**json.loads(path.read_text()))


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
    headers = {"X-ClickHouse-User": SERVICE_USER, "X-ClickHouse-Key": passwords.service}
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


def _prepare(folder: Path, namespace: str, passwords: Passwords, log: Path) -> None:
    """Write the settings and the users; make the working folder an empty one.

    The library reads a `config.xml` that it finds in its working folder.
    """
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    (folder / "data").mkdir(exist_ok=True)
    users = (_HERE / "users.xml").read_text()
    services = f"{namespace}.*" if namespace else "*.*"
    write_secret(
        folder / "users.xml",
        users.replace("{service_sha256}", _sha256(passwords.service))
        .replace("{analyst_sha256}", _sha256(passwords.analyst))
        .replace("{services}", services)
        .replace("{analyst}", services if namespace else f"{SERVICE_USER}.*"),
    )
    config = (_HERE / "config.xml").read_text()
    (folder / "config.xml").write_text(
        config.replace("{users}", escape(str(folder / "users.xml"))).replace(
            "{log}", escape(str(log.with_name("clickhouse-server.log")))
        )
    )


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
