"""What is asked of the machine before anything is started."""

from __future__ import annotations

import platform
import socket
from pathlib import Path

import pytest

from deploy.local.machine import busy_ports, folder_problems, free_port, platform_problems


def test_another_system_is_sent_to_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    (sentence,) = platform_problems(clickhouse=True)
    assert "this is Darwin; use Docker instead" in sentence


def test_another_libc_is_sent_to_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    (sentence,) = platform_problems(clickhouse=False)
    assert "needs a Linux with glibc" in sentence


def test_on_arm64_only_a_local_clickhouse_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    (sentence,) = platform_problems(clickhouse=True)
    assert "TRACK_CLICKHOUSE" in sentence
    assert platform_problems(clickhouse=False) == []


def test_a_free_port_is_no_problem() -> None:
    assert busy_ports("127.0.0.1", {"TRACK_PORT": free_port()}) == []


def test_a_free_port_is_given_once() -> None:
    """The system has some 14,000 and no memory: of 500 it would give one twice."""
    assert len({free_port() for _ in range(500)}) == 500


def test_a_port_shared_by_its_listener_is_busy_too() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        (sentence,) = busy_ports("127.0.0.1", {"TRACK_PORT": listener.getsockname()[1]})
    assert "set TRACK_PORT to another one" in sentence


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    (sentence,) = busy_ports("192.0.2.1", {"TRACK_PORT": free_port()})
    assert "cannot be listened on at 192.0.2.1" in sentence


def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.machine._NEEDED_BYTES", 10**18)
    (sentence,) = folder_problems([(tmp_path, "data and logs")])
    assert "make room" in sentence
