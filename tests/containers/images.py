"""The images that the tests and the Compose file ask for: pulled, or made under the same names.

In: the environment of an engine, a folder. Out: images. Never: an image fetched anew that is there;
a stand-in that nobody is told of.

A stand-in is a root file system of Debian's with the servers of the local stack: the same Java,
Kafka and ClickHouse, at other paths. Only Caddy and Python are of Debian's versions.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import downloads
from tests.containers.servers import CLICKHOUSE_IMAGE, KAFKA_IMAGE

OURS = "track:latest"
_BASE = "track-test/base"
_SUITE = "bookworm"
_TREE = Path(__file__).parents[2]
_STAND_INS = Path(__file__).parent / "stand_ins"
_CLICKHOUSE_PROCESS = ("deploy/local/clickhouse_process.py", "deploy/local/landlock.py")
_PULL_WITHIN_S = 300
_BUILD_WITHIN_S = 900
# Where this machine says how packages are reached; a container needs the same.
_OF_THE_MACHINE = ("etc/pip.conf", "etc/ssl/certs/ca-certificates.crt", "etc/apt/sources.list.d")

Fill = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class StandIn:
    """An image by name, the folder of its Dockerfile, what it has, and what is put beside that."""

    image: str
    folder: str
    what: str
    fill: Fill = lambda context: None


def stand_ins() -> tuple[StandIn, ...]:
    """Return the images of others that are needed, with their stand-ins."""
    return (
        StandIn(KAFKA_IMAGE, "kafka", f"Kafka {downloads.KAFKA_VERSION}", _fill_kafka),
        StandIn(
            CLICKHOUSE_IMAGE,
            "clickhouse",
            f"ClickHouse {downloads.CLICKHOUSE_VERSION} as a library",
            _fill_clickhouse,
        ),
        StandIn("python:3.13-slim-bookworm", "python", "Debian's Python 3.11"),
        StandIn("caddy:2.10-alpine", "caddy", "Debian's Caddy 2.6"),
    )


class ImageError(Exception):
    """An image can neither be pulled nor made; the message says why."""


class Images:
    """The images of an engine."""

    def __init__(self, engine: Mapping[str, str], folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    def require(self, wanted: StandIn) -> str:
        """Have an image; return a line that says where it is from.

        Raises:
            ImageError: it can neither be pulled nor made.
        """
        if self._is_there(wanted.image):
            return f"{wanted.image}: there already"
        if self._docker("pull", "--quiet", wanted.image, within_s=_PULL_WITHIN_S) is None:
            return f"{wanted.image}: pulled"
        self._require_base()
        context = self._folder / wanted.folder
        shutil.rmtree(context, ignore_errors=True)
        shutil.copytree(_STAND_INS / wanted.folder, context)
        wanted.fill(context)
        self._build(wanted.image, context, context / "Dockerfile")
        shutil.rmtree(context)
        return f"{wanted.image}: could not be pulled; a stand-in was made here, {wanted.what}"

    def build_ours(self) -> None:
        """Build the project's own image, from what its builder would be given.

        Raises:
            ImageError: it cannot be built.
        """
        context = self._folder / "ours"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "secrets", "certificates")
        for line in (_TREE / "deploy" / "Dockerfile.dockerignore").read_text().splitlines():
            name = line.removeprefix("!")
            if line.startswith("!") and (_TREE / name).is_dir():
                shutil.copytree(_TREE / name, context / name, ignore=ignore)
            elif line.startswith("!"):
                shutil.copy(_TREE / name, context / name)
        self._build(OURS, context, _TREE / "deploy" / "Dockerfile")
        shutil.rmtree(context)

    def _require_base(self) -> None:
        """Make the root file system that the stand-ins begin with, once."""
        if self._is_there(_BASE):
            return
        if shutil.which("debootstrap") is None:
            raise ImageError(
                "Images cannot be pulled here, and debootstrap, which would make a root file "
                "system for stand-ins, is missing. Install Debian's package debootstrap."
            )
        root = self._folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        print("Making a root file system of Debian's …", flush=True)
        packages = "ca-certificates,python3,python3-venv,wget"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, str(root)]
        command += _mirror()
        _run(command, None, _BUILD_WITHIN_S)
        for name in _OF_THE_MACHINE:
            _copy_over(Path("/") / name, root / name)
        archive = self._folder / "root.tar"
        with tarfile.open(archive, "w") as file:
            file.add(root, arcname=".")
        self._require("import", str(archive), _BASE, within_s=_BUILD_WITHIN_S)
        archive.unlink()
        shutil.rmtree(root)

    def _build(self, image: str, context: Path, dockerfile: Path) -> None:
        print(f"Building {image} …", flush=True)
        command = ("build", "--quiet", "--network", "host", "--tag", image)
        self._require(*command, "--file", str(dockerfile), str(context), within_s=_BUILD_WITHIN_S)

    def _is_there(self, image: str) -> bool:
        return self._docker("image", "inspect", image, within_s=30) is None

    def _require(self, *arguments: str, within_s: float) -> None:
        problem = self._docker(*arguments, within_s=within_s)
        if problem is not None:
            raise ImageError(f"docker {arguments[0]} failed: {problem}")

    def _docker(self, *arguments: str, within_s: float) -> str | None:
        """Run docker; return the end of what it said if it failed, else None."""
        done = subprocess.run(
            ["docker", *arguments], env=self._engine, capture_output=True, text=True,
            timeout=within_s, check=False,
        )  # fmt: skip
        return None if done.returncode == 0 else (done.stdout + done.stderr).strip()[-800:]


def _fill_kafka(context: Path) -> None:
    shutil.copytree(downloads.kafka_jars(print), context / "jars")
    shutil.copytree(downloads.java().parent.parent, context / "java", symlinks=True)


def _fill_clickhouse(context: Path) -> None:
    shutil.copy(downloads.clickhouse_library(print), context / "libchdb.so")
    for name in ("deploy/__init__.py", "deploy/local/__init__.py", *_CLICKHOUSE_PROCESS):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_TREE / name, context / name)


def _mirror() -> list[str]:
    """Return where this machine's packages are from, if it says so as Debian's images do."""
    for source in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for line in source.read_text().splitlines():
            if line.startswith("URIs:"):
                return [line.split()[1]]
    return []


def _copy_over(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _run(command: list[str], engine: Mapping[str, str] | None, within_s: float) -> None:
    done = subprocess.run(
        command, env=engine, capture_output=True, text=True, timeout=within_s, check=False
    )
    if done.returncode != 0:
        raise ImageError(f"{command[0]} failed: {(done.stdout + done.stderr).strip()[-400:]}")
