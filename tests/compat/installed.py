"""The real clients, installed as they are: fetched once, then used offline.

In: the pinned packages in `requirements` and `npm`, the pinned compiler. Out: a Python that has a
set of them, the folder of npm's packages, a class compiled for Kafka's Java client, a browser.
Never: a file in the source tree, a client in the environment of the tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.downloads import downloads_folder, java, kafka_jars
from tests.npm.packages import modules_of

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements"
_FETCH_SECONDS = 300
_COMPILER = "org.eclipse.jdt:ecj:3.45.0"
_COMPILER_SHA256 = "c8f5e66787ea6e4e0394ba3051c86a4edc50683ce9850f71739646529a99a2d7"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def python_with(clients: str) -> str:
    """Return a Python whose environment has the packages of a file in `requirements`."""
    locked = _REQUIREMENTS / f"{clients}.txt"
    digest = hashlib.sha256(locked.read_bytes()).hexdigest()[:12]

    def fill(draft: Path) -> None:
        _run(sys.executable, "-m", "venv", "--without-pip", str(draft))
        _run(
            sys.executable, "-m", "pip", "--python", str(draft / "bin" / "python"), "install",
            "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
            "-r", str(locked),
        )  # fmt: skip

    return str(_made_once(f"client-{clients}-{digest}", fill) / "bin" / "python")


def node_modules() -> Path:
    """Return the folder of npm's packages."""
    return modules_of(_HERE / "npm", "client-npm")


def browser() -> str:
    """Return the path of a Chromium; without one skip the test, and fail it in CI."""
    for name in _BROWSERS:
        if (path := shutil.which(name)) is not None:
            return path
    told = f"No browser on this machine: none of {', '.join(_BROWSERS)} was found"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def java_command(source: Path, folder: Path) -> list[str]:
    """Return the beginning of a command line that runs a class with Kafka's client.

    `source` is the class's file, which is compiled into the folder.
    """
    jars = kafka_jars(lambda _: None)
    class_path = ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))
    compiler = _made_once(f"ecj-{_COMPILER_SHA256[:12]}", _fetch_compiler) / "ecj.jar"
    _run(
        str(java()), "-jar", str(compiler), "-source", "21", "-target", "21", "-proc:none",
        "-classpath", class_path, "-d", str(folder), str(source),
    )  # fmt: skip
    return [
        str(java()), "-Xmx256m", "-XX:-UsePerfData", "-XX:+UseSerialGC",
        "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "-cp", f"{folder}:{class_path}", source.stem,
    ]  # fmt: skip


def _made_once(name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder among the downloads; what has the final name is whole."""
    folder = downloads_folder() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            draft = folder.with_name(f"{name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            fill(draft)
            draft.rename(folder)
    return folder


def _fetch_compiler(draft: Path) -> None:
    scratch = draft / "scratch"
    scratch.mkdir(parents=True)
    _run(
        sys.executable, "-m", "jgo", "--ignore-config", "--cache-dir", str(scratch / "cache"),
        "--repo-cache", str(scratch / "m2"), "--resolver", "python", "--links", "copy",
        "--timeout", "60", "--color", "plain", "info", "jars", _COMPILER,
        HOME=str(scratch), M2_REPO=str(scratch / "m2"),
    )  # fmt: skip
    jar = next((scratch / "m2").rglob("ecj-*.jar"))
    assert hashlib.sha256(jar.read_bytes()).hexdigest() == _COMPILER_SHA256, jar.name
    shutil.move(jar, draft / "ecj.jar")
    shutil.rmtree(scratch)


def _run(*command: str, **environment: str) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=_FETCH_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-2000:]
