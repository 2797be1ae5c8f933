"""The proxy: good, slow, cut, a black hole, and losing answers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from cli.migrate import run_migrations
from contracts.topics import Topics
from runtime.clickhouse import ClickHouseError, connect_sync
from runtime.kafka.consumers import open_consumer
from runtime.settings import Settings
from tests.faults.proxy import Insert, Proxy, Request, open_proxies
from tests.faults.servers import FaultyServers

SOON_S = 0.3


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says what it is told."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


@pytest.fixture
def open_proxy() -> Iterator[Callable[[int], Proxy]]:
    with open_proxies() as opening:
        yield opening


@contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as connection:
        yield connection


def said(connection: socket.socket, data: bytes) -> bytes:
    """Say something and return what comes back, whole."""
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data) and (piece := connection.recv(1 << 16)):
        answer += piece
    return answer


def is_broken(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_what_is_said_arrives_unchanged(echo: int, open_proxy: Callable[[int], Proxy]) -> None:
    with connected(open_proxy(echo)) as connection:
        for size in (1, 1 << 16, 3_000_000):
            data = bytes(range(256)) * (size // 256 + 1)
            sending = threading.Thread(target=connection.sendall, args=(data,))
            sending.start()
            answer = b""
            while len(answer) < len(data):
                answer += connection.recv(1 << 16)
            sending.join()
            assert answer == data


def test_a_delay_is_paid_each_way(echo: int, open_proxy: Callable[[int], Proxy]) -> None:
    proxy = open_proxy(echo)
    with connected(proxy) as connection:
        proxy.delay(0.2)
        began = time.monotonic()
        assert said(connection, b"x") == b"x"
        assert time.monotonic() - began >= 0.4


def test_a_cut_breaks_connections_and_takes_no_new_ones(
    echo: int, open_proxy: Callable[[int], Proxy]
) -> None:
    proxy = open_proxy(echo)
    with connected(proxy) as connection:
        assert said(connection, b"x") == b"x"
        proxy.cut()
        assert is_broken(connection)
    with connected(proxy) as connection:
        assert is_broken(connection)
    proxy.heal()
    with connected(proxy) as connection:
        assert said(connection, b"y") == b"y"


def test_dropped_connections_are_had_again(echo: int, open_proxy: Callable[[int], Proxy]) -> None:
    proxy = open_proxy(echo)
    with connected(proxy) as connection:
        assert said(connection, b"x") == b"x"
        proxy.drop_connections()
        assert is_broken(connection)
    with connected(proxy) as connection:
        assert said(connection, b"y") == b"y"


def test_nothing_leaves_a_black_hole_until_it_is_healed(
    echo: int, open_proxy: Callable[[int], Proxy]
) -> None:
    proxy = open_proxy(echo)
    with connected(proxy) as connection:
        assert said(connection, b"x") == b"x"
        proxy.black_hole()
        connection.sendall(b"y")
        connection.settimeout(SOON_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(5)
        proxy.heal()
        assert connection.recv(1) == b"y"


def test_a_server_that_is_away_is_away(open_proxy: Callable[[int], Proxy]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with connected(open_proxy(port)) as connection:
        assert is_broken(connection)


@pytest.fixture
def migrated(faulty: FaultyServers, settings_behind: Settings) -> Settings:
    asyncio.run(run_migrations(settings_behind))
    return settings_behind


def test_the_answer_of_a_produce_is_lost_and_the_record_is_not(
    faulty: FaultyServers, migrated: Settings
) -> None:
    """The producer, told nothing, sends it again, and the broker has it once."""
    proxy, topic = faulty.ways["outside"].kafka, Topics.of(migrated.namespace).events

    async def send() -> int:
        async with AIOKafkaProducer(
            bootstrap_servers=f"127.0.0.1:{proxy.port}", enable_idempotence=True
        ) as producer:
            await producer.send_and_wait(topic, b"first", partition=0)
            proxy.lose_answers(Request.PRODUCE, 2)
            await asyncio.wait_for(producer.send_and_wait(topic, b"second", partition=0), 30)
        async with open_consumer(migrated.kafka_servers) as consumer:
            place = TopicPartition(topic, 0)
            return int((await consumer.end_offsets([place]))[place])

    lost = proxy.lost
    assert asyncio.run(send()) == 2
    assert proxy.lost - lost == 2


def test_the_answer_of_an_insert_is_lost_and_the_row_is_not(
    faulty: FaultyServers, migrated: Settings
) -> None:
    proxy = faulty.ways["outside"].clickhouse
    through = connect_sync(faulty.settings_of("outside", migrated))
    statement = "INSERT INTO rejected_events (received_at) FORMAT JSONEachRow"
    try:
        lost = proxy.lost
        proxy.lose_answers(Insert)
        assert through.command("SELECT 1") == 1  # it is no insert
        with pytest.raises(ClickHouseError):
            through.command(
                statement,
                data=b'{"received_at":%d}' % int(time.time() * 1000),
                settings={"insert_deduplication_token": "t"},
            )
        assert proxy.lost - lost == 1
    finally:
        through.close()
    direct = connect_sync(migrated)
    assert direct.command("SELECT count() FROM rejected_events") == 1
    direct.close()
