"""The users and settings of the Compose file's ClickHouse, in the real server.

The image cannot run here, but its server is the local stack's: the library takes the same files.
Only its own session needs a user more. As in a container, no Landlock keeps it in.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.local import downloads
from deploy.local.machine import free_port
from deploy.local.processes import Program, start, wait_until_ready
from tests.deploy.test_compose import SECRET_OF

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"
OWN_SESSION = """
<users><default>
<password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
<grants>
<query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT SELECT ON system.numbers</query>
</grants>
</default>"""
_SERVE = """
import sys
from deploy.local.clickhouse_process import main

library, config, data, http, native = sys.argv[1:]
main(library, config, data, (http, native))
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and the passwords of its users."""

    port: int
    passwords: dict[str, str]

    def ask(
        self, user: str, query: str, password: str | None = None, timeout_s: float = 10
    ) -> tuple[int, str]:
        """Return the status and the answer of a query."""
        headers = {
            "X-ClickHouse-User": user,
            "X-ClickHouse-Key": self.passwords[user] if password is None else password,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("POST", "/", query.encode(), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clickhouse")
    for name in ("make-secrets", "clickhouse-users.xml"):
        shutil.copy(COMPOSE / name, folder / name)
    subprocess.run(["sh", str(folder / "make-secrets")], capture_output=True, check=True)
    secrets = folder / "secrets"
    users = (secrets / "clickhouse_users.xml").read_text()
    (folder / "users.xml").write_text(users.replace("<users>", OWN_SESSION, 1))
    config = (COMPOSE / "clickhouse.xml").read_text()
    users_config = f"<users_config>{folder / 'users.xml'}</users_config></clickhouse>"
    (folder / "config.xml").write_text(config.replace("</clickhouse>", users_config))
    (folder / "work").mkdir()
    found = Server(
        free_port(),
        {
            **{
                user: urlsplit((secrets / secret).read_text().strip()).password or ""
                for user, secret in SECRET_OF.items()
            },
            "analyst": (secrets / "analyst_password").read_text().strip(),
        },
    )
    running = start(_program(folder, found.port), folder / "run")
    try:
        wait_until_ready(running, 60)
        yield found
    finally:
        running.kill()


def test_each_user_does_its_own_task_and_no_other(server: Server) -> None:
    for query in (
        "CREATE DATABASE track",
        "CREATE TABLE track.log (n UInt8) ENGINE = MergeTree ORDER BY n",
        "CREATE TABLE track.events (n UInt8) ENGINE = MergeTree ORDER BY n",
        "CREATE TABLE track.sessions (n UInt8) ENGINE = MergeTree ORDER BY n",
    ):
        assert server.ask("track", query) == (200, "")
    tasks = {
        "track": "ALTER TABLE track.events DELETE WHERE n = 0",
        "writer": "INSERT INTO track.events VALUES (1)",
        "query": "SELECT count() FROM track.sessions",
        "check": "SELECT count() FROM track.log",
        "analyst": "SELECT count() FROM track.events",
    }
    able = {
        "ALTER": {"track"}, "INSERT": {"track", "writer"}, "sessions": {"track", "writer", "query"},
        "log": {"track", "writer", "query", "check"}, "events": {"track", "writer", "query"},
    }  # fmt: skip
    for query, those in zip(tasks.values(), able.values(), strict=True):
        for user in tasks:
            status, answer = server.ask(user, query)
            reads_all = user == "analyst" and query.startswith("SELECT")
            assert (status == 200) == (user in those or reads_all), (user, query, answer)


@pytest.mark.parametrize("user", [*SECRET_OF, "analyst"])
@pytest.mark.parametrize(
    "query",
    [
        "CREATE DATABASE other",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT name FROM system.users",
    ],
)
def test_nobody_leaves_the_database(server: Server, user: str, query: str) -> None:
    status, answer = server.ask(user, query)
    assert status != 200, answer


def test_nobody_makes_it_connect_to_another_machine(server: Server) -> None:
    """A restore from a URL connects before it asks for rights, and tries for a long time."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.1)
        place = f"http://127.0.0.1:{other.getsockname()[1]}/bucket/a"
        for user in (*SECRET_OF, "analyst"):
            restore = f"RESTORE DATABASE track FROM S3('{place}', 'key', 'secret')"
            with contextlib.suppress(TimeoutError):
                status, _ = server.ask(user, restore, timeout_s=1)
                assert status != 200
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize("user", [*SECRET_OF, "analyst"])
def test_a_wrong_password_is_refused(server: Server, user: str) -> None:
    status, answer = server.ask(user, "SELECT 1", password="wrong")
    assert status != 200
    assert "AUTHENTICATION_FAILED" in answer


def _program(folder: Path, port: int) -> Program:
    return Program(
        name="clickhouse",
        command=(
            sys.executable, "-c", _SERVE, str(downloads.clickhouse_library(print)),
            str(folder / "config.xml"), str(folder / "data"), str(port), str(free_port()),
        ),
        environment=dict(os.environ),
        log=folder / "clickhouse.log",
        folder=folder / "work",
        is_ready=lambda: _pings(port),
        dies_by=signal.SIGKILL,
    )  # fmt: skip


def _pings(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
