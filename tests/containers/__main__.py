"""`make test-containers`: the tests whose servers are containers, and the Compose file for real.

In: nothing. Out: an exit code, and lines that say what was had from where. Never: an engine, an
image or a container of somebody's that is removed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.containers.compose_program import NoComposeError, compose_program
from tests.containers.engine import NoEngineError, docker_engine
from tests.containers.images import ImageError, Images, stand_ins

FOLDER = Path(__file__).parents[2] / ".local" / "test-containers"
# Each of them talks to the servers of the run, or starts services that do.
_ON_SERVERS = (
    "tests/containers/server_checks.py",
    "tests/ingest",
    "tests/query",
    "tests/processors",
    "tests/cli/test_migrate.py",
    "tests/cli/test_position.py",
    "tests/cli/test_verify.py",
    "tests/stack",
)
_COMPOSE = ("tests/containers/compose_checks.py",)


def main() -> int:
    """Run all of it; return the exit code."""
    try:
        with docker_engine(FOLDER / "engine") as engine:
            images = Images(engine, FOLDER)
            for wanted in stand_ins():
                print(images.require(wanted), flush=True)
            images.build_ours()
            compose = " ".join(compose_program(FOLDER))
            codes = [
                _pytest(_ON_SERVERS, engine),
                _pytest(_COMPOSE, {**engine, "TRACK_TEST_COMPOSE": compose}),
            ]
    except (NoEngineError, ImageError, NoComposeError) as error:
        print(error, file=sys.stderr)
        return 1
    return max(codes)


def _pytest(paths: Sequence[str], engine: Mapping[str, str]) -> int:
    # Nothing here has to be cleared away after us by a container: we remove what we started.
    environment = {**engine, "TESTCONTAINERS_RYUK_DISABLED": "true"}
    command = [sys.executable, "-m", "pytest", "-rs", *paths]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
