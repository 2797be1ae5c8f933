"""Virtual environments of programs that the pipeline is compared with, apart from its own.

In: a name, whose pinned packages stand in `requirements/NAME.txt`. Out: the environment's Python,
installed at the first use. Never: a package without its hash, a package built here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from deploy.local.downloads import Say, downloads_folder, fetch_once
from tests.benchmarks.figures import BenchmarkError

_REQUIREMENTS = Path(__file__).parent / "requirements"
_INSTALLED_WITHIN_S = 600


def python_with(name: str, say: Say) -> str:
    """Return the Python that has the packages of a name.

    Raises:
        BenchmarkError: they could not be installed.
    """
    requirements = _REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = downloads_folder() / f"{name}-{digest}"
    fetch_once(
        folder,
        lambda draft, _: _install(draft, requirements),
        lambda: say(f"Installing {name} into an environment of its own …"),
    )
    return str(folder / "bin" / "python")


def _install(folder: Path, requirements: Path) -> None:
    python = str(folder / "bin" / "python")
    _run([sys.executable, "-m", "venv", str(folder)])
    _run(
        [
            python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--require-hashes", "--only-binary", ":all:", "-r", str(requirements),
        ]
    )  # fmt: skip


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_INSTALLED_WITHIN_S, check=False
    )
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise BenchmarkError(f"it cannot be installed here: {said[-300:]}")
