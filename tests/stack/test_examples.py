from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path

from deploy.local.machine import free_port
from tests.environments import foreign_environment
from tests.running_stack import RunningStack

SCRIPT = Path(__file__).parents[2] / "examples.sh"


def test_every_example_has_its_answer(stack: RunningStack) -> None:
    done = _run(stack.http)
    assert done.returncode == 0, done.stdout
    assert "✗" not in done.stdout
    assert re.search(r"All \d\d checks passed\.", done.stdout)


def test_it_can_be_repeated_and_takes_the_port_of_the_stack(stack: RunningStack) -> None:
    port = stack.http.rpartition(":")[2]
    done = _run(environment={"TRACK_PORT": port})
    assert done.returncode == 0, done.stdout


def test_without_a_stack_it_says_what_to_do() -> None:
    done = _run(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "does not answer" in done.stdout
    assert "make run" in done.stdout


def test_a_wrong_answer_is_a_failure(stack: RunningStack) -> None:
    """Kafka's address is no HTTP service of ours; neither is a path of it that does not exist."""
    done = _run(f"{stack.http}/elsewhere")
    assert done.returncode == 1
    assert re.search(r"\d+ of \d+ checks failed", done.stdout)


def test_it_needs_nothing_beyond_an_old_bash() -> None:
    """macOS has bash 3.2: no associative arrays, no mapfile, no case conversion, no `|&`."""
    script = SCRIPT.read_text()
    for newer in ("declare -A", "mapfile", "readarray", "|&", "&>>", ",,}", "^^}", "coproc", "jq "):
        assert newer not in script, newer


def test_no_password_stands_in_a_log_or_in_the_list_of_processes(stack: RunningStack) -> None:
    passwords = json.loads((stack.home / "clickhouse" / "passwords.json").read_text())
    assert len(passwords) == 6
    seen = [path.read_bytes() for path in (stack.home / "logs").iterdir()]
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is no process
            seen.append((folder / "cmdline").read_bytes())
    assert len(seen) > 10
    for password in passwords.values():
        assert not [text for text in seen if password.encode() in text]
    for secret in ("stack.json", "clickhouse/passwords.json", "clickhouse/users.xml"):
        assert (stack.home / secret).stat().st_mode & 0o077 == 0


def test_each_service_is_its_own_user_of_clickhouse(stack: RunningStack) -> None:
    users = {"writer": "writer", "sessionizer": "check", "http-1": "query"}
    for name, user in users.items():
        pid = json.loads((stack.home / "run" / f"{name}.json").read_text())["pid"]
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        (url,) = [each for each in variables if each.startswith(b"TRACK_CLICKHOUSE=")]
        assert url.startswith(f"TRACK_CLICKHOUSE=http://{user}:".encode()), name
        assert not [each for each in variables if b"://track:" in each]


def _run(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={**foreign_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
