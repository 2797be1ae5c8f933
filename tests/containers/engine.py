"""A Docker engine: the one that answers, or one of Debian's that is started for the run.

In: the environment, a folder. Out: the environment that reaches the engine. Never: an engine of
somebody's that is stopped, or one of ours that is left running.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("docker.io", "debootstrap", "iptables")
_UP_WITHIN_S = 60
_DOWN_WITHIN_S = 30
_INSTALL_WITHIN_S = 600


class NoEngineError(Exception):
    """No engine can be had here; the message says why."""


@contextmanager
def docker_engine(folder: Path) -> Iterator[Mapping[str, str]]:
    """Give the environment in which `docker` reaches an engine.

    Args:
        folder: where an engine that has to be started keeps its images.

    Raises:
        NoEngineError: none answers, and none can be started.
    """
    if _answers(os.environ):
        yield os.environ
        return
    _require_programs()
    socket = Path("/run") / f"track-docker-{os.getpid()}.sock"  # a path in `folder` may be too long
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "dockerd.log"
    with log.open("wb") as file:
        engine = subprocess.Popen(_command(folder, socket), stdout=file, stderr=file)
    try:
        _wait_until_up(engine, environment, log)
        print(f"Started a Docker engine; its log is {log}.", flush=True)
        yield environment
    finally:
        _stop(engine)
        socket.unlink(missing_ok=True)


def _answers(environment: Mapping[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    command = ["docker", "info", "--format", "{{.ServerVersion}}"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def _require_programs() -> None:
    if shutil.which("dockerd") and shutil.which("docker"):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoEngineError(
            "No Docker engine answers, and none can be installed: that needs root and apt-get. "
            "Start Docker, and run the same command again."
        )
    print(f"Installing {', '.join(PACKAGES)} …", flush=True)
    _apt("update", "-q")
    _apt("install", "-q", "-y", "--no-install-recommends", *PACKAGES)


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True, text=True, timeout=_INSTALL_WITHIN_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise NoEngineError(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-400:]}")


def _command(folder: Path, socket: Path) -> Sequence[str]:
    return (
        "dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
        "--pidfile", str(folder / "pid"), "--host", f"unix://{socket}",
        "--exec-opt", "native.cgroupdriver=cgroupfs",
    )  # fmt: skip


def _wait_until_up(
    engine: subprocess.Popen[bytes], environment: Mapping[str, str], log: Path
) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while not _answers(environment):
        if engine.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise NoEngineError(f"The Docker engine did not start ({log}): {' '.join(last)}")
        time.sleep(0.5)


def _stop(engine: subprocess.Popen[bytes]) -> None:
    """Stop it with its containers; what does not end is killed."""
    engine.terminate()
    try:
        engine.wait(_DOWN_WITHIN_S)
    except subprocess.TimeoutExpired:
        print("The Docker engine did not end by itself and was killed.", file=sys.stderr)
        engine.kill()
        engine.wait(_DOWN_WITHIN_S)
