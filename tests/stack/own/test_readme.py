"""The README's commands, typed as they stand into a stack of their own: each has its answer."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.keys import add_key
from runtime.access.keys import Scope
from tests.benchmarks.programs import beside_python
from tests.environments import foreign_environment
from tests.running_stack import RunningStack, running_stack

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A command, and all that stands below it up to the next one.
_COMMAND = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_DATE = re.compile(r"^date: .*\n", re.MULTILINE)
_COMPLETE_FROM = re.compile(r'(?<="complete_from":")[0-9-]+')
_SECRET = re.compile("track_[0-9a-f]{48}")
_TRACK = ".venv/bin/track "
# What is another one in every stack: places in the log and its id, times of receipt; and with them
# the widths of columns.
_OF_THIS_STACK = re.compile(
    r"events/\d+/\d+|replay:[0-9a-f]{32}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|(?<= ) +"
)
_DAY_TO_COME = re.compile(r"(?<=until )\d{4}-\d\d-\d\d")
_THROUGH_S = 90.0


@pytest.fixture(scope="module")
def stack_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("readme")) as stack:
        yield stack


def test_every_command_has_the_answer_that_stands_below_it(stack_of_its_own: RunningStack) -> None:
    answered = 0
    secrets: dict[str, str] = {}  # those that the README shows, and those that were made
    for program, command, answer in _steps():
        if program:
            _run_python(_here(program, stack_of_its_own))
            continue
        said = _expect(stack_of_its_own, _with(secrets, command), answer)
        secrets |= dict(zip(_SECRET.findall(answer), _SECRET.findall(said), strict=True))
        answered += 1
    assert answered >= 20
    assert len(secrets) == 1


def test_the_examples_pass_with_a_key(stack_of_its_own: RunningStack) -> None:
    file = stack_of_its_own.home / "keys"
    secret = add_key(file, "examples", [Scope.WRITE, Scope.READ], datetime.now(UTC))
    _wait_until_noticed(stack_of_its_own, "examples")
    done = subprocess.run(
        [str(ROOT / "examples.sh"), stack_of_its_own.http],
        env={**foreign_environment(), "TRACK_KEY": secret},
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert secret not in done.stdout + done.stderr


def _steps() -> Iterator[tuple[str, str, str]]:
    """Give programs, and commands with their answers, in order; assignments go before commands."""
    assignments = ""
    for kind, text in _BLOCK.findall(README):
        if kind == "python":
            yield text, "", ""
            continue
        for command, answer in _COMMAND.findall(text):
            if re.match("[A-Z]+=", command):
                assignments += f"{command.partition('  #')[0]}; "
            else:
                yield "", assignments + command, answer


def _with(secrets: Mapping[str, str], command: str) -> str:
    return _SECRET.sub(lambda found: secrets.get(found[0], found[0]), command)


def _here(text: str, running: RunningStack) -> str:
    """Put the addresses of this stack in the places of the usual ones."""
    stack = running.stack
    return (
        text.replace("http://analyst:PASSWORD@127.0.0.1:8123", stack.analyst)
        .replace("http://127.0.0.1:8000", stack.http)
        .replace("127.0.0.1:9092", stack.kafka)
        .replace("curl ", "curl --silent --show-error --max-time 10 ")
        .replace(_TRACK, f"TRACK_HOME={running.home} {beside_python('track')} ")
    )


def _wait_until_noticed(running: RunningStack, key: str) -> None:
    """Wait until each process that serves HTTP has read a key: its log says so."""
    deadline = time.monotonic() + _THROUGH_S
    for log in running.home.glob("logs/http*.log"):
        while not re.search(rf"Read the keys in .*\b{key}\b", log.read_text()):
            assert time.monotonic() < deadline, f"{log.name} has not read the key {key}"
            time.sleep(0.05)


def _expect(running: RunningStack, typed: str, expected: str) -> str:
    """Type a question until it has its answer, since counting takes a moment; the rest once."""
    command = _here(typed, running)
    makes_key = re.search(r" keys new (\S+)", command)
    sends = "/track -" in command or command.endswith("--yes") or bool(makes_key)
    masks = [_DATE, _COMPLETE_FROM, _SECRET]
    if " rejected " in command:
        masks.append(_OF_THIS_STACK)
    if " forget " in command:
        masks.append(_DAY_TO_COME)
    deadline = time.monotonic() + _THROUGH_S
    while True:
        done = subprocess.run(
            ["bash", "-c", command],
            env=foreign_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        if _comparable(done.stdout, masks) == _comparable(expected, masks):
            if makes_key:
                _wait_until_noticed(running, makes_key[1])
            return done.stdout
        assert not sends, f"{command}\n{done.stdout}"
        assert time.monotonic() < deadline, f"{command}\n{done.stdout}"
        time.sleep(0.2)


def _comparable(answer: str, masks: Iterable[re.Pattern[str]]) -> str:
    answer = answer.replace("\r\n", "\n")
    for mask in masks:
        answer = mask.sub("", answer)
    return answer.strip()


def _run_python(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
