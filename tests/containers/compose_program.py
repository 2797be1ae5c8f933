"""Docker Compose 2: the plugin that is there, or the same program built from its Go module.

In: a folder to keep the program in. Out: the command that runs it. Never: Compose 1, which does not
know what our file says.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).parent / "compose_plugin"
_PACKAGE = "github.com/docker/compose/v2/cmd"
_BUILD_WITHIN_S = 900


class NoComposeError(Exception):
    """Compose cannot be had here; the message says why."""


def compose_program(folder: Path) -> tuple[str, ...]:
    """Return the command of Docker Compose.

    Raises:
        NoComposeError: Docker has no such plugin, and it cannot be built.
    """
    if _works(("docker", "compose")):
        return ("docker", "compose")
    built = folder / "docker-compose"
    if not built.exists():
        _build(built)
    return (str(built),)


def _works(command: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run([*command, "version"], capture_output=True, timeout=30, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def _build(target: Path) -> None:
    if shutil.which("go") is None:
        raise NoComposeError(
            "Docker has no plugin compose here, and Go, which could build it, is missing. Install "
            "one of them."
        )
    print("Building Docker Compose from its Go module …", flush=True)
    draft = target.with_name("docker-compose.draft")
    done = subprocess.run(
        ["go", "build", "-o", str(draft.absolute()), _PACKAGE],
        cwd=MODULE, capture_output=True, text=True, timeout=_BUILD_WITHIN_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise NoComposeError(f"Docker Compose could not be built: {done.stderr.strip()[-400:]}")
    draft.rename(target)
