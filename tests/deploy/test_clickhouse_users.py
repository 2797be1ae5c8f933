"""Who may do what in ClickHouse: each user against each action, in the real server.

What the services really ask is tested where they run: `track up` gives each its own user.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.migrations import apply_migrations, create_database, read_migrations
from contracts.tables import BASE_TABLES, EVENTS, SELECT_VIEW, fill_statement
from deploy.local.clickhouse import (
    ADMIN,
    ANALYST,
    CHECK,
    EXPORTER,
    QUERY,
    USERS,
    WRITER,
    ClickHouse,
    analyst_limits,
    keep_passwords,
    start_clickhouse,
)
from runtime.clickhouse import connect
from runtime.settings import Settings

DEFAULT = "default"  # the server's own session, without a password
EVERYBODY = (*USERS, DEFAULT)
READERS = (QUERY, CHECK, EXPORTER, ANALYST)
ROW = json.dumps(
    {
        "event_id": "1", "user_id": "ada", "event": "play", "timestamp": 0, "received_at": 0,
        "metadata": {}, "source": "", "log_offset": 0, "kafka_partition": 0, "kafka_offset": 0,
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A migrated server."""

    clickhouse: ClickHouse
    folder: Path

    def ask(self, user: str, query: str) -> str:
        """Return the answer, or what was said against the query."""
        url = urlsplit(self.clickhouse.urls.get(user, ""))
        headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": url.password or ""}
        port = self.clickhouse.ports.http
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            path = "/?database=track&wait_end_of_query=1"
            connection.request("POST", path, query.encode(), headers)
            answer = connection.getresponse()
            text = answer.read().decode().strip()
            return text if answer.status == 200 else f"REFUSED {text}"
        finally:
            connection.close()

    def may(self, user: str, query: str) -> bool:
        """Return whether the user may; any other failure than a refusal of rights is an error."""
        answer = self.ask(user, query)
        denied = any(word in answer for word in ("ACCESS_DENIED", "READONLY"))
        assert denied or not answer.startswith("REFUSED"), answer
        return not denied


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clickhouse")
    clickhouse = start_clickhouse(folder, namespace="track")
    try:
        asyncio.run(_migrate(dataclasses.replace(Settings(), clickhouse=clickhouse.address)))
        yield Server(clickhouse, folder)
    finally:
        clickhouse.kill()


async def _migrate(settings: Settings) -> None:
    client = await connect(settings, database="default")
    await create_database(client, settings.namespace)
    await client.close()
    client = await connect(settings)
    await apply_migrations(client, read_migrations())
    await client.close()


# Statements that work for whoever may, and those who may.
ALLOWED = [
    ("SELECT count() FROM log", USERS),
    ("SELECT count() FROM events", (ADMIN, WRITER, QUERY, EXPORTER, ANALYST)),
    ("SELECT count() FROM imported_events", (ADMIN, ANALYST)),
    ("SELECT count() FROM all_events", (ADMIN, ANALYST)),
    ("SELECT any(is_shown) FROM imported_days", (ADMIN, ANALYST)),
    ("SELECT count() FROM rejected_events", (ADMIN, WRITER, ANALYST)),
    ("SELECT count() FROM sessions", (ADMIN, WRITER, QUERY, ANALYST)),
    ("SELECT count() FROM user_counts_15m", (ADMIN, WRITER, QUERY, ANALYST)),
    ("SELECT count() FROM user_counts", (ADMIN, ANALYST)),
    ("SELECT count() FROM migrations", (ADMIN, ANALYST)),
    (f"INSERT INTO events FORMAT JSONEachRow {ROW}", (ADMIN, WRITER)),
    (f"INSERT INTO events_refusals FORMAT JSONEachRow {ROW}", (ADMIN, WRITER)),
    ("INSERT INTO user_counts_15m (user_id) SELECT user_id FROM events", (ADMIN, WRITER)),
    ("INSERT INTO log (id) SELECT '' WHERE 0", (ADMIN,)),
    ("INSERT INTO migrations (name) SELECT '' WHERE 0", (ADMIN,)),
    ("CREATE TABLE twin AS events", (ADMIN,)),
    ("ALTER TABLE twin ATTACH PARTITION '1970-01-01' FROM events", (ADMIN,)),
    ("ALTER TABLE twin REPLACE PARTITION '1970-01-01' FROM events", (ADMIN,)),
    ("ALTER TABLE twin DELETE WHERE user_id = 'nobody'", (ADMIN,)),
    ("ALTER TABLE twin DROP PARTITION '1970-01-01'", (ADMIN,)),
    ("ALTER TABLE twin MODIFY SETTING merge_selector_base = 9", (ADMIN,)),
    ("ALTER TABLE twin MODIFY TTL toDateTime(received_at) + toIntervalDay(3)", (ADMIN,)),
    ("ALTER TABLE twin ADD COLUMN more String", (ADMIN,)),
    ("CREATE VIEW IF NOT EXISTS seen AS SELECT user_id FROM events", (ADMIN,)),
    ("OPTIMIZE TABLE twin", (ADMIN,)),
    ("TRUNCATE TABLE twin", (ADMIN,)),
    ("DROP TABLE twin SYNC", (ADMIN,)),
    ("DROP VIEW seen SYNC", (ADMIN,)),
    ("SYSTEM STOP MERGES events", (ADMIN,)),
    ("KILL QUERY WHERE user = 'nobody'", (ADMIN,)),
    ("SELECT count() FROM system.processes", (ADMIN,)),
    ("SET max_threads = 1", EVERYBODY),
    ("SET readonly = 0", (ADMIN, WRITER, DEFAULT)),
    ("EXPLAIN SELECT * FROM events", (ADMIN, WRITER, QUERY, EXPORTER, ANALYST)),
    ("EXPLAIN SELECT 1", EVERYBODY),
]


def test_each_user_may_do_what_its_task_needs_and_no_more(server: Server) -> None:
    for statement, those in ALLOWED:
        # Who may do it comes last: a table made or dropped is not there, or there, for the others.
        for user in sorted(EVERYBODY, key=those.__contains__):
            if user in those and user != ADMIN and statement.startswith(("CREATE", "DROP")):
                continue
            assert server.may(user, statement) == (user in those), (user, statement)


def test_every_table_is_in_the_matrix_of_the_writer(server: Server) -> None:
    """A table that the writer fills and may not fill would only be found when it is behind."""
    for base in BASE_TABLES:
        for name in (base.name, base.twin, *(rollup.name for rollup in base.rollups)):
            assert server.may(WRITER, f"INSERT INTO {name} (kafka_partition) SELECT 0 WHERE 0")
        for rollup in base.rollups:
            view = SELECT_VIEW.replace("{view:String}", f"'{rollup.view}'")
            select = server.ask(WRITER, f"{view} FORMAT TSVRaw")
            statement = fill_statement("track", base, rollup, select)
            for name, value in (("partition:UInt16", "7"), ("first:UInt64", "0")):
                statement = statement.replace(f"{{{name}}}", value)
            assert server.may(WRITER, statement.replace("{last:UInt64}", "0"))
    assert EVENTS.rollups


ELSEWHERE = [
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "INSERT INTO FUNCTION url('http://127.0.0.1:1/', 'CSV', 'a String') SELECT 'a'",
    "DESCRIBE TABLE url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM file('x.csv')",
    "INSERT INTO FUNCTION file('x.csv', 'CSV', 'a String') SELECT 'a'",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'k', 's', 'CSV', 'a String')",
    "INSERT INTO FUNCTION s3('http://127.0.0.1:1/bucket/x', 'k', 's', 'CSV', 'a String') SELECT ''",
    "SELECT * FROM remote('127.0.0.1:1', 'system', 'one')",
    "SELECT * FROM remoteSecure('127.0.0.1:1', 'system', 'one')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'a String')",
    "SELECT * FROM redis('127.0.0.1:1', 'k', 'k String, v String')",
    "SELECT * FROM sqlite('x', 'y')",
    "SELECT * FROM odbc('a', 'b', 'c')",
    "SELECT * FROM jdbc('a', 'b', 'c')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:1/a', 'CSV', 'a String')",
    "SELECT * FROM view(SELECT * FROM system.users)",
    "SELECT * FROM system.users",
    "EXPLAIN SELECT * FROM system.users",
    "SELECT * FROM system.grants",
    "SELECT * FROM system.server_settings",
    "SELECT * FROM system.named_collections",
    "CREATE DATABASE other",
    "CREATE TABLE x (a String) ENGINE = URL('http://127.0.0.1:1/', 'CSV')",
    "CREATE TABLE x (a String) ENGINE = File(CSV)",
    "CREATE TABLE x (a String) ENGINE = Executable('x', 'CSV')",
    "CREATE TABLE x (a String) ENGINE = Memory",
    "CREATE TABLE x (a String) ENGINE = S3('http://127.0.0.1:1/bucket/x', 'CSV')",
    "CREATE TABLE x (a String) ENGINE = Kafka('127.0.0.1:1', 't', 'g', 'CSV')",
    "ATTACH TABLE x FROM '/tmp/' (a UInt8) ENGINE = File(CSV)",
    "CREATE TEMPORARY TABLE x (a String) ENGINE = File(CSV)",
    "CREATE TEMPORARY TABLE x (a String)",
    "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(EXECUTABLE(COMMAND 'id' FORMAT 'CSV')) "
    "LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(HTTP(URL 'http://127.0.0.1:1/' "
    "FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE FUNCTION f AS x -> x",
    "CREATE USER x",
    "CREATE ROLE x",
    "CREATE QUOTA x",
    "CREATE NAMED COLLECTION c AS a = 1",
    "GRANT SELECT ON *.* TO analyst",
    "ALTER USER analyst SETTINGS max_threads = 64",
    "BACKUP DATABASE track TO File('x')",
    "SYSTEM SHUTDOWN",
    "SYSTEM FLUSH LOGS",
    "SELECT 1 SETTINGS allow_introspection_functions = 1, readonly = 2 UNION ALL "
    "SELECT addressToLine(1) = ''",
]
"""What nobody may do, refused as a matter of rights."""


@pytest.mark.parametrize("user", EVERYBODY)
def test_nobody_reaches_anything_outside_the_database(server: Server, user: str) -> None:
    for statement in ELSEWHERE:
        assert not server.may(user, statement), (user, statement)


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("SELECT 1 INTO OUTFILE 'x.csv'", "INTO_OUTFILE_NOT_ALLOWED"),
        ("SELECT * FROM merge('system', '^users$')", "REFUSED"),
        ("SELECT * FROM loop('system', 'users')", "REFUSED"),
        ("SELECT * FROM executable('x', 'CSV', 'a String')", "REFUSED"),
        ("SELECT * FROM cluster('default', 'system', 'users')", "REFUSED"),
        ("SELECT * FROM dictionary('x')", "REFUSED"),
        (
            "CREATE TABLE x (n UInt8) ENGINE = MergeTree ORDER BY n "
            "SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:1/')",
            "REFUSED",
        ),
        (
            "CREATE TABLE x (n UInt8) ENGINE = MergeTree ORDER BY n "
            "SETTINGS disk = disk(type = local, path = '/tmp/x/')",
            "REFUSED",
        ),
    ],
)
def test_other_ways_out_are_closed_too(
    server: Server, user: str, statement: str, word: str
) -> None:
    answer = server.ask(user, statement)
    assert answer.startswith("REFUSED"), answer
    assert word in answer


@pytest.mark.parametrize("user", EVERYBODY)
def test_files_of_the_machine_cannot_be_read(server: Server, user: str) -> None:
    """The library would open any file; the kernel does not let it."""
    own, other = os.getpid(), server.clickhouse.running.pid
    passwords = server.folder / "passwords.json"
    assert passwords.exists()
    for path in (
        passwords, "/etc/passwd", f"/proc/{own}/environ", f"/proc/{own}/cmdline", __file__,
    ):  # fmt: skip
        answer = server.ask(user, f"SELECT file('{path}')")
        assert "Permission denied" in answer, (path, answer)
    known = f"TRACK_HOME={os.environ.get('TRACK_HOME', '')}\\0"
    assert server.ask(user, f"SELECT file('/proc/{other}/environ')") == known


def test_a_wrong_or_missing_password_is_refused(server: Server) -> None:
    for user in USERS:
        for password in ("", "wrong", server.clickhouse.urls[user].partition("@")[0][-31:]):
            connection = http.client.HTTPConnection(
                "127.0.0.1", server.clickhouse.ports.http, timeout=10
            )
            headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
            connection.request("POST", "/", b"SELECT 1", headers)
            answer = connection.getresponse()
            assert answer.status != 200
            assert b"AUTHENTICATION_FAILED" in answer.read()
            connection.close()


# --- the analyst's limits -------------------------------------------------------------------------

_LONG = "SELECT count() FROM numbers(900000000) WHERE NOT ignore(sipHash128(number, number))"
_LARGE = "SELECT length(groupArray(repeat('x', 100000))) FROM numbers(20000)"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (f"{_LONG} SETTINGS max_execution_time = 1", "TIMEOUT_EXCEEDED"),
        (_LARGE, "MEMORY_LIMIT_EXCEEDED"),
        ("SELECT count() FROM numbers(1000000001)", "TOO_MANY_ROWS"),
        ("SELECT number FROM numbers(1000001) FORMAT Null", "TOO_MANY_ROWS_OR_BYTES"),
        ("SET max_execution_time = 61", "SETTING_CONSTRAINT_VIOLATION"),
        ("SET max_execution_time = 0", "SETTING_CONSTRAINT_VIOLATION"),
        ("SET max_memory_usage = 0", "SETTING_CONSTRAINT_VIOLATION"),
        ("SET max_memory_usage_for_user = 0", "SETTING_CONSTRAINT_VIOLATION"),
        ("SET max_rows_to_read = 0", "SETTING_CONSTRAINT_VIOLATION"),
        ("SET max_result_rows = 0", "SETTING_CONSTRAINT_VIOLATION"),
        ("SET max_threads = 3", "SETTING_CONSTRAINT_VIOLATION"),
        ("SET max_concurrent_queries_for_user = 0", "SETTING_CONSTRAINT_VIOLATION"),
    ],
)
def test_the_limits_of_the_analyst_bite(server: Server, query: str, code: str) -> None:
    assert f"({code})" in server.ask(ANALYST, query)


def test_the_analyst_asks_so_many_questions_at_once_and_no_more(server: Server) -> None:
    answers: list[str] = []
    slow = "SELECT sleepEachRow(1) FROM numbers(2) SETTINGS max_block_size = 1 FORMAT Null"
    threads = [
        threading.Thread(target=lambda: answers.append(server.ask(ANALYST, slow)))
        for _ in range(11)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    refused = [answer for answer in answers if "TOO_MANY_SIMULTANEOUS_QUERIES" in answer]
    assert len(answers) == 11
    assert len(refused) == 1


def test_the_quota_of_the_analyst_ends_and_nobody_elses_does(server: Server) -> None:
    """It is the last test of the file: the analyst has used up its hour."""
    rows = "SELECT number FROM numbers(1000000) FORMAT Null"
    deadline = time.monotonic() + 60
    for _ in range(60):
        answer = server.ask(ANALYST, rows)
        if answer:
            break
        assert time.monotonic() < deadline
    assert "(QUOTA_EXCEEDED)" in answer
    assert "result_rows" in answer
    assert server.may(QUERY, "SELECT count() FROM sessions")
    assert server.may(WRITER, "SELECT count() FROM events")


def test_the_limits_of_the_analyst_are_settings(tmp_path: Path) -> None:
    """Each is set to something small, and bites there; what it is for the others stays."""
    settings = dataclasses.replace(
        Settings(),
        analyst_seconds=1,
        analyst_memory_bytes=30_000_000,
        analyst_rows_read=1_000_000_000,
        analyst_rows=5,
        analyst_threads=1,
        analyst_questions=1,
        analyst_hour_questions=40,
        analyst_hour_rows=30,
    )
    clickhouse = start_clickhouse(tmp_path, namespace="track", limits=analyst_limits(settings))
    server = Server(clickhouse, tmp_path)
    try:
        asyncio.run(_migrate(dataclasses.replace(settings, clickhouse=clickhouse.address)))
        for query, code in (
            (_LONG, "TIMEOUT_EXCEEDED"),
            (_LARGE, "MEMORY_LIMIT_EXCEEDED"),
            ("SELECT count() FROM numbers(1000000001)", "TOO_MANY_ROWS"),
            ("SELECT number FROM numbers(6)", "TOO_MANY_ROWS_OR_BYTES"),
            ("SET max_threads = 2", "SETTING_CONSTRAINT_VIOLATION"),
            ("SET max_result_rows = 6", "SETTING_CONSTRAINT_VIOLATION"),
            ("SET max_execution_time = 2", "SETTING_CONSTRAINT_VIOLATION"),
            ("SET max_memory_usage = 40000000", "SETTING_CONSTRAINT_VIOLATION"),
        ):
            assert f"({code})" in server.ask(ANALYST, query), query
        answers = [server.ask(ANALYST, "SELECT number FROM numbers(5)") for _ in range(16)]
        assert answers[0] == "0\n1\n2\n3\n4"
        assert "(QUOTA_EXCEEDED)" in answers[-1]
        assert server.ask(QUERY, "SELECT count() FROM sessions") == "0"
    finally:
        clickhouse.kill()


# --- passwords ------------------------------------------------------------------------------------


def test_a_folder_of_an_earlier_version_keeps_its_passwords_and_gets_new_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "passwords.json"
    path.write_text(json.dumps({"service": "s" * 32, "analyst": "a" * 16}))
    passwords = keep_passwords(tmp_path)
    assert (passwords[ADMIN], passwords[ANALYST]) == ("s" * 32, "a" * 16)
    assert set(passwords) == set(USERS)
    assert len(set(passwords.values())) == 6
    assert keep_passwords(tmp_path) == passwords
    assert path.stat().st_mode & 0o777 == 0o600
