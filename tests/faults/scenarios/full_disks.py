"""A full disk under Kafka and under ClickHouse: nothing acknowledged is lost.

The server's data are moved to a small file system for the trial, which needs the right to mount
one. A ballast fills it but for a megabyte, and is taken away again.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.faults.load import Volume
from tests.faults.registry import scenario
from tests.faults.services import Service
from tests.faults.trial import Trial

_SIZE_MB, _LEFT_MB = 1_500, 1
_FULL_WITHIN_S = 60.0
_FULL_S = 8.0
_FILLED_EVERY_S = 0.1
_BALLAST = "ballast-"


@scenario(volume=Volume(per_s=1_500))
def kafkas_disk_is_full(trial: Trial) -> None:
    """Kafka's disk is full: ingest answers 503; with room again, everything is there."""
    servers = trial.servers
    if not _can_mount(trial):
        return
    with _small_disk(trial, "kafka", servers.kill_kafka, servers.start_kafka) as disk:
        _fill(disk)
        trial.wait_for(lambda: _is_refused(trial), "an answer of 503", _FULL_WITHIN_S)
        _keep_full(disk, _FULL_S / 2)
        _empty(disk)
        servers.kill_kafka()  # it has ended by itself, or not
        servers.start_kafka()
        trial.wait_for(lambda: not _is_refused(trial), "an answer of 200", _FULL_WITHIN_S)


@scenario(volume=Volume(per_s=800))
def clickhouses_disk_is_full(trial: Trial) -> None:
    """ClickHouse's disk is full: rows wait in Kafka, and go in when there is room."""
    servers = trial.servers
    if not _can_mount(trial):
        return
    with _small_disk(
        trial, "clickhouse", servers.kill_clickhouse, servers.start_clickhouse
    ) as disk:
        writer = trial.services["writer"]
        trial.wait_for(lambda: _has_no_room(disk, writer), "an insert without room", _FULL_WITHIN_S)
        _keep_full(disk, _FULL_S)
        _empty(disk)


@contextmanager
def _small_disk(
    trial: Trial, server: str, kill: Callable[[], None], begin: Callable[[], None]
) -> Iterator[Path]:
    """Move a server's data to a small file system for as long as the block lasts; give its root."""
    data = trial.servers.folders[server]
    usual = data.with_name("data.usual")
    kill()
    data.rename(usual)
    data.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "tmpfs", str(data))
    try:
        _copy(usual, data)
        begin()
        yield data
    finally:
        kill()
        _run("rm", "-rf", str(usual))
        usual.mkdir()
        _copy(data, usual)
        _run("umount", str(data))
        data.rmdir()
        usual.rename(data)
        begin()


def _can_mount(trial: Trial) -> bool:
    """Tell whether a file system can be mounted here; say it where none can."""
    folder = trial.folder / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        _run("umount", str(folder))
        return True
    trial.figures["not run"] = f"no file system can be mounted: {done.stderr.strip()}"
    return False


def _has_no_room(disk: Path, writer: Service) -> bool:
    """Fill the disk once more; tell whether the writer has been told of it."""
    _fill(disk)
    return writer.has_said("No space left") or writer.has_said("NOT_ENOUGH_SPACE")


def _keep_full(disk: Path, seconds: float) -> None:
    """Fill it again and again: what has been merged is removed, and makes room."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _fill(disk)
        time.sleep(_FILLED_EVERY_S)


def _fill(disk: Path) -> None:
    """Leave a megabyte."""
    megabytes = shutil.disk_usage(disk).free // 2**20 - _LEFT_MB
    if megabytes > 0:
        number = len(list(disk.glob(f"{_BALLAST}*")))
        # Not checked: another may have taken the room meanwhile.
        command = ["fallocate", "-l", f"{megabytes}M", str(disk / f"{_BALLAST}{number}")]
        subprocess.run(command, capture_output=True, check=False)


def _empty(disk: Path) -> None:
    for ballast in disk.glob(f"{_BALLAST}*"):
        ballast.unlink()


def _copy(source: Path, target: Path) -> None:
    _run("cp", "-a", "--sparse=always", f"{source}/.", str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=120)


def _is_refused(trial: Trial) -> bool:
    try:
        return httpx.get(f"{trial.base_url}/readyz", timeout=5).status_code == 503 or (
            trial.post("full") == 503
        )
    except httpx.TransportError:
        return False
