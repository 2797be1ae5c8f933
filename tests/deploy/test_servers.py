"""The local servers by themselves: data survive, users may do what they must and no more."""

from __future__ import annotations

import http.client
import os
import signal
import time
import urllib.error
import urllib.request
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.clickhouse import ClickHouse, start_clickhouse
from deploy.local.kafka import answers_metadata, new_cluster_id, start_kafka
from deploy.local.machine import free_port
from deploy.local.processes import ServerError


def ask(url: str, query: str) -> str:
    parts = urlsplit(url)
    login = b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{parts.hostname}:{parts.port}/",
        data=query.encode(),
        headers={"Authorization": f"Basic {login}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"ERROR {error.read().decode()}"


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    server = start_clickhouse(tmp_path_factory.mktemp("clickhouse"), namespace="shop")
    ask(server.address, "CREATE DATABASE shop")
    ask(server.address, "CREATE TABLE shop.t (n UInt64) ENGINE = MergeTree ORDER BY n")
    ask(server.address, "INSERT INTO shop.t VALUES (1)")
    yield server
    server.stop()


def test_the_analyst_reads_the_database(clickhouse: ClickHouse) -> None:
    assert ask(clickhouse.urls["analyst"], "SELECT count() FROM shop.t") == "1\n"
    assert ask(clickhouse.urls["analyst"], "SHOW TABLES FROM shop") == "t\n"
    columns = "SELECT name FROM system.columns WHERE database = 'shop'"
    assert ask(clickhouse.urls["analyst"], columns) == "n\n"


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO shop.t VALUES (2)",
        "DROP TABLE shop.t",
        "CREATE TABLE shop.u (n UInt64) ENGINE = Memory",
        "SELECT * FROM system.users",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')",
        "SELECT * FROM file('x.csv')",
        "SYSTEM STOP LISTEN HTTP",
        "KILL QUERY WHERE 1",
        "SELECT 1 SETTINGS max_execution_time = 3600",
        "SELECT 1 SETTINGS max_memory_usage = 0",
        "SELECT 1 SETTINGS readonly = 0",
    ],
)
def test_the_analyst_changes_nothing(clickhouse: ClickHouse, query: str) -> None:
    assert ask(clickhouse.urls["analyst"], query).startswith("ERROR")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM shop.t",
        "SHOW DATABASES",
        "KILL QUERY WHERE 1",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')",
    ],
)
def test_the_session_without_password_may_nothing(clickhouse: ClickHouse, query: str) -> None:
    port = clickhouse.ports.http
    answer = ask(f"http://default:@127.0.0.1:{port}", query)
    assert answer.startswith("ERROR") or "shop" not in answer


def test_another_database_is_nobodys(clickhouse: ClickHouse) -> None:
    assert ask(clickhouse.address, "CREATE DATABASE other").startswith("ERROR")


def test_clickhouse_ends_in_good_order_and_keeps_its_data(tmp_path: Path) -> None:
    server = start_clickhouse(tmp_path)
    ask(server.address, "CREATE TABLE default.t (n UInt64) ENGINE = MergeTree ORDER BY n")
    ask(server.address, "INSERT INTO default.t VALUES (7)")
    began = time.monotonic()
    assert server.running.stop()
    assert server.running.exit_code is not None
    assert server.running.exit_code >= 0, "it was killed"
    assert time.monotonic() - began < 10
    again = start_clickhouse(tmp_path, server.ports)
    try:
        assert ask(again.address, "SELECT n FROM default.t") == "7\n"
    finally:
        again.kill()


@pytest.mark.anyio
async def test_kafka_keeps_its_topics_over_a_crash_and_makes_none_by_itself(tmp_path: Path) -> None:
    port = free_port()
    assert not answers_metadata("127.0.0.1", port)
    kafka = start_kafka(tmp_path, port)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.describe_topics(["guessed"])
    await admin.close()
    os.kill(kafka.running.pid, signal.SIGKILL)
    kafka.kill()
    again = start_kafka(tmp_path, port)
    try:
        admin = AIOKafkaAdminClient(bootstrap_servers=again.address)
        await admin.start()
        topics = await admin.list_topics()
        await admin.close()
        assert topics == ["kept"]
        assert again.running.stop()
    finally:
        again.kill()


def test_a_folder_that_takes_too_long_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.kafka.START_SECONDS", 0.01)
    with pytest.raises(ServerError, match="was not formatted within"):
        start_kafka(tmp_path)


def test_nothing_listens_on_other_addresses(clickhouse: ClickHouse) -> None:
    connection = http.client.HTTPConnection("127.0.0.2", clickhouse.ports.http, timeout=2)
    with pytest.raises(OSError, match="refused"):
        connection.request("GET", "/ping")


def test_a_cluster_is_never_named_like_an_option() -> None:
    """Of 5,000 random UUIDs about 78 begin with a dash; Kafka's tool would refuse each of them."""
    names = {new_cluster_id() for _ in range(5_000)}
    assert len(names) == 5_000
    assert not [name for name in names if name.startswith("-")]
    assert all(len(urlsafe_b64decode(f"{name}==")) == 16 for name in names)
