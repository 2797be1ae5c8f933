"""The real clients, installed as they are: fetched once, then used offline.

In: the pinned packages in `requirements` and `npm`, the pinned compiler. Out: a Python that has a
set of them, the folder of npm's packages, a class compiled for Kafka's Java client, a browser.
Never: a file in the source tree, a client in the environment of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.downloads import Jars, java, kafka_jars, pinned_jars
from tests import virtual_environments
from tests.npm.packages import modules_of

_HERE = Path(__file__).parent
_COMPILED_WITHIN_S = 300
_COMPILER = Jars("ecj-3.45.0", "org.eclipse.jdt:ecj:3.45.0", _HERE / "ecj.sha256")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def python_with(clients: str) -> str:
    """Return a Python whose environment has the packages of a file in `requirements`."""
    return virtual_environments.python_with(
        _HERE / "requirements" / f"{clients}.txt", "client-", lambda _: None
    )


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
    (compiler,) = pinned_jars(_COMPILER.what, _COMPILER, lambda _: None).glob("*.jar")
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


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, timeout=_COMPILED_WITHIN_S, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-2000:]
