"""Virtual environments apart from the tests' own: for clients, and for what we are compared with.

In: a file of pinned packages. Out: the environment's Python, installed at the first use. Never: a
package without its hash, a package built here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from deploy.local.downloads import Say, downloads_folder, fetch_once
from deploy.local.processes import ServerError

_INSTALLED_WITHIN_S = 600


def python_with(requirements: Path, prefix: str, say: Say) -> str:
    """Return the Python that has the packages of a file; `prefix` begins its folder's name.

    Raises:
        ServerError: they could not be installed.
    """
    name = requirements.stem
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = downloads_folder() / f"{prefix}{name}-{digest}"
    fetch_once(
        folder,
        lambda draft, _: _install(draft, requirements),
        lambda: say(f"Installing {name} into an environment of its own …"),
    )
    return str(folder / "bin" / "python")


def _install(folder: Path, requirements: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    _run(
        [
            sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install",
            "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
            "-r", str(requirements),
        ]
    )  # fmt: skip


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_INSTALLED_WITHIN_S, check=False
    )
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise ServerError(f"it cannot be installed here: {said[-300:]}")
