"""The README's commands, typed as they stand into a stack of their own: each has its answer."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.benchmarks.programs import beside_python
from tests.environments import foreign_environment
from tests.running_stack import RunningStack, running_stack

README = (Path(__file__).parents[2] / "README.md").read_text()
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A command, and all that stands below it up to the next one.
_COMMAND = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_DATE = re.compile(r"^date: .*\n", re.MULTILINE)
_TRACK = ".venv/bin/track "
# What is another one in every stack: places in the log and its id, times of receipt; and with them
# the widths of columns.
_OF_THIS_STACK = re.compile(
    r"events/\d+/\d+|replay:[0-9a-f]{32}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|(?<= ) +"
)
_THROUGH_S = 20.0


@pytest.mark.timeout(240)
def test_every_command_has_the_answer_that_stands_below_it(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        answered = 0
        for program, command, answer in _steps():
            if program:
                _run_python(_here(program, stack))
            else:
                _expect(_here(command, stack), answer)
                answered += 1
    assert answered >= 16


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


def _expect(command: str, expected: str) -> None:
    """Type a question until it has its answer, since counting takes a moment; an event once."""
    sends = "/track -" in command or command.endswith("--yes")
    masks = [_DATE, _OF_THIS_STACK] if " rejected " in command else [_DATE]
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
            return
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
