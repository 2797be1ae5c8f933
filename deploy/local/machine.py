"""What the local stack asks of the machine, checked before anything is started.

In: the system as Python sees it, ports, folders. Out: sentences about what is missing; an empty
list means that all is well. Never: a change of anything but a probe file.
"""

from __future__ import annotations

import errno
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

_NEEDED_BYTES = 1_500_000_000
_given: set[int] = set()  # several are chosen before the first is listened on
_DOCKER = "use Docker instead: `docker compose -f deploy/compose.yaml up`"


def platform_problems(*, clickhouse: bool) -> list[str]:
    """Say what keeps the local servers from running on this kind of machine.

    Args:
        clickhouse: whether a local ClickHouse is wanted; it exists for x86-64 alone.
    """
    system, processor = platform.system(), platform.machine().lower()
    if system != "Linux":
        return [f"The local stack runs on Linux, and this is {system}; {_DOCKER}."]
    if platform.libc_ver()[0] != "glibc":
        return [f"The local stack needs a Linux with glibc, and this one has another; {_DOCKER}."]
    if clickhouse and processor not in ("x86_64", "amd64"):
        return [
            f"The local ClickHouse runs on x86-64, and this is {processor}; name one that you "
            f"have with TRACK_CLICKHOUSE, or {_DOCKER}."
        ]
    if processor not in ("x86_64", "amd64", "aarch64", "arm64"):
        return [f"The local stack runs on x86-64 and arm64, and this is {processor}; {_DOCKER}."]
    return []


def busy_ports(host: str, ports: Mapping[str, int]) -> list[str]:
    """Say which ports somebody else listens on, and two that are the same.

    Args:
        host: the address they are to be listened on.
        ports: the port by the name of the setting that changes it.
    """
    problems = []
    for setting, port in ports.items():
        twin = next((other for other, taken in ports.items() if taken == port), setting)
        if twin != setting:
            problems.append(f"{setting} and {twin} are both {port}; set one to another port.")
        elif reason := _why_not_listen(host, port):
            problems.append(f"Port {port} {reason}; set {setting} to another one.")
    return problems


def folder_problems(folders: Iterable[tuple[Path, str]]) -> list[str]:
    """Say which folders cannot be written; each comes with what it is for."""
    return [problem for folder, use in folders if (problem := _why_not_write(folder, use))]


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on right now, and that was not returned before."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def _why_not_listen(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use by another program"
            return f"cannot be listened on at {host} ({error.strerror})"
        return ""


def _why_not_write(folder: Path, use: str) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"The folder {folder} for {use} cannot be written ({error.strerror})."
    if free < _NEEDED_BYTES:
        return (
            f"The disk of {folder} has {free / 1e9:.1f} GB left, and {use} need "
            f"{_NEEDED_BYTES / 1e9:.1f} GB; make room."
        )
    return ""
