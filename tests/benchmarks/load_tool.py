"""The load generator of the HTTP measurement: wrk if the machine has it, else autocannon from npm.

In: a URL, connections, seconds. Out: what came of it. Never: a URL of another machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from deploy.local.downloads import downloads_folder
from tests.benchmarks.figures import BenchmarkError
from tests.benchmarks.programs import beside_python

_HERE = Path(__file__).parent
_AUTOCANNON_VERSION = "8.0.0"
_THREADS = 2
_FETCH_S = 300
_SPARE_S = 60
_TIMEOUT_S = 10


class Load(msgspec.Struct, frozen=True):
    """What a load of some seconds has shown: answers, and requests that went wrong."""

    requests: int
    seconds: float
    not_2xx: int
    late: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def tool_name() -> str:
    """Return the name of the load generator that is used."""
    return "wrk" if shutil.which("wrk") else f"autocannon {_AUTOCANNON_VERSION}"


def put_load(url: str, connections: int, seconds: int, events: int = 1) -> Load:
    """Send requests of so many events each for so many seconds.

    Raises:
        BenchmarkError: the generator failed, or a request did.
    """
    assert urlsplit(url).hostname == "127.0.0.1"
    done = subprocess.run(
        _command(url, connections, seconds, events),
        capture_output=True,
        text=True,
        timeout=seconds + _SPARE_S,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise BenchmarkError(f"{tool_name()} failed: {(done.stdout + done.stderr)[-400:]}")
    load = msgspec.json.decode(lines[0].removeprefix("RESULT "), type=Load)
    if load.not_2xx or load.late or load.broken:
        raise BenchmarkError(
            f"of {load.requests} requests at {url}, {load.not_2xx} were refused, {load.late} took "
            f"over {_TIMEOUT_S} s, {load.broken} broke off"
        )
    return load


def _command(url: str, connections: int, seconds: int, events: int) -> list[str]:
    wrk = shutil.which("wrk")
    if wrk:
        return [
            wrk, "-t", str(_THREADS), "-c", str(connections), "-d", f"{seconds}s",
            "--timeout", f"{_TIMEOUT_S}s", "-s", str(_HERE / "events.lua"), url, "--", str(events),
        ]  # fmt: skip
    script = str(_HERE / "autocannon" / "events.js")
    return [
        beside_python("node"),
        script,
        url,
        str(connections),
        str(seconds),
        str(events),
        _autocannon(),
    ]


def _autocannon() -> str:
    """Return the folder of autocannon's modules, fetched once; npm checks their hashes."""
    folder = downloads_folder() / f"autocannon-{_AUTOCANNON_VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return str(folder / "node_modules")


def _fetch(folder: Path) -> None:
    """Fill a draft and rename it, so that what has the final name is whole."""
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_HERE / "autocannon" / name, draft / name)
    npm = beside_python("npm")
    done = subprocess.run(
        [
            npm, "ci", "--prefix", str(draft), "--cache", str(draft / "cache"),
            "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error",
        ],
        env={**os.environ, "PATH": f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        timeout=_FETCH_S,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BenchmarkError(f"npm could not fetch autocannon: {done.stderr[-400:]}")
    shutil.rmtree(draft / "cache", ignore_errors=True)
    draft.rename(folder)
