"""The libraries for servers that send over HTTP, and what each does with an answer.

In: nothing. Out: for each library its command, how it shows its key, how often it sends a batch
that is answered so or so, and what it then says of it. Never: what is hoped for: all of it was
seen, and the tests see it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.compat.clients import PROGRAMS, node_command
from tests.compat.installed import python_with
from tests.compat.proxy import Fault

RETRIES = 2
TIMEOUT_S = 3.0
BATCH = 100
# What becomes of the requests with a batch, by the name that a row of `ANSWERS` has for it.
PLANNED: Mapping[str, tuple[Fault, ...]] = {
    "taken": (),
    "400": (Fault.INVALID,),
    "401": (Fault.UNKNOWN_KEY,),
    "413": (Fault.TOO_LARGE,),
    "429 twice": (Fault.TOO_MANY, Fault.TOO_MANY),
    "503": (Fault.AWAY,),
    "answer lost": (Fault.LOST,),
    "answer late": (Fault.LATE,),
    "503 thrice": (Fault.AWAY,) * (RETRIES + 1),
    "answer lost thrice": (Fault.LOST,) * (RETRIES + 1),
}


# How often a batch is sent, and what is given up, with two repetitions allowed.
USUAL_REQUESTS = {
    "taken": 1,
    "400": 1,
    "401": 1,
    "413": 1,
    "429 twice": 3,
    "503": 2,
    "answer lost": 2,
    "answer late": 2,
    "503 thrice": 3,
    "answer lost thrice": 3,
}
USUAL_DROPS = ("400", "401", "413", "503 thrice")


@dataclass(frozen=True, slots=True)
class Library:
    """A library.

    Attributes:
        name: of its package, with the version.
        command: gives the command that runs its program.
        options: what its program is given beside the address, the key and the events.
        shows_key_in_header: else its key stands in the body alone.
        requests: how many requests it makes for a batch, by what is planned for that.
        waits: for what is planned, whether it waits the time of `Retry-After` at the least.
        drops: what is planned for the batches that it gives up, and the service never has.
        names_failures: whether it tells the program which events have failed.
    """

    name: str
    command: Callable[[], list[str]]
    options: Mapping[str, Any]
    shows_key_in_header: bool
    requests: Mapping[str, int]
    waits: tuple[str, ...]
    drops: tuple[str, ...] = USUAL_DROPS
    names_failures: bool = True


def _python(clients: str, program: str) -> Callable[[], list[str]]:
    return lambda: [python_with(clients), str(PROGRAMS / program)]


def _node(program: str) -> Callable[[], list[str]]:
    return lambda: node_command(program)


LIBRARIES = (
    Library(
        "segment-analytics-python 2.4.0",
        _python("segment", "segment_client.py"),
        {"gzip": False},
        shows_key_in_header=True,
        # A 503 with Retry-After does not count as a try.
        requests={**USUAL_REQUESTS, "503 thrice": 4},
        waits=("429 twice", "503", "503 thrice"),
        drops=("400", "401", "413"),
    ),
    Library(
        "segment-analytics-python 2.3.4",
        _python("segment-2.3", "segment_client.py"),
        {"gzip": True},
        shows_key_in_header=False,
        requests=USUAL_REQUESTS,
        waits=(),
    ),
    Library(
        "rudder-sdk-python 2.1.9",
        _python("rudder", "rudder_client.py"),
        {"gzip": True},
        shows_key_in_header=True,
        requests=USUAL_REQUESTS,
        waits=(),
    ),
    Library(
        "posthog 7.91.1",
        _python("posthog", "posthog_client.py"),
        {"gzip": True},
        shows_key_in_header=False,
        requests=USUAL_REQUESTS,
        waits=("429 twice", "503", "503 thrice"),
    ),
    Library(
        "@segment/analytics-node 3.1.0",
        _node("segment_node.mjs"),
        {"batch": BATCH},
        shows_key_in_header=True,
        requests=USUAL_REQUESTS,
        # It waits after a 429 until another batch is through, and then for none.
        waits=(),
    ),
    Library(
        "posthog-node 5.70.0",
        _node("posthog_node.mjs"),
        {"batch": BATCH},
        shows_key_in_header=False,
        # After a 413 it sends halves; what no answer came to stays in its queue for the next flush.
        requests={**USUAL_REQUESTS, "413": 2, "answer lost thrice": 4},
        waits=(),
        drops=("400", "401", "503 thrice"),
        names_failures=False,
    ),
)
