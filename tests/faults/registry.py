"""The scenarios, by name. A scenario is a small function with a docstring, given a running trial.

    @scenario(short=True)
    def kafka_is_killed(trial: Trial) -> None:
        '''Kafka is killed under load and started again.'''

In: the modules of `tests/faults/scenarios/`, one a theme. Out: scenarios, in the order in which
they are run. Never: two of one name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tests.faults import scenarios
from tests.faults.load import Volume

if TYPE_CHECKING:
    from tests.faults.trial import Trial

Play = Callable[["Trial"], None]


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """One thing that goes wrong.

    Attributes:
        theme: the module that it stands in.
        about: the first sentence of its docstring.
        play: does it; the load runs meanwhile, and the judgement comes after.
        volume: the load; none if there is to be none but what the scenario sends.
        services: what runs; `writer-2` is a second writer.
        events: the load goes on until it has made so many, also when `play` is through before.
        settings: settings of the pipeline that differ from the defaults.
        short: whether `make faults-short` and `make test` include it.
        last: whether it comes after all others.
        before: is called before the services are started.
    """

    name: str
    theme: str
    about: str
    play: Play
    volume: Volume | None
    services: tuple[str, ...]
    events: int
    settings: dict[str, object] = field(default_factory=dict)
    short: bool = False
    last: bool = False
    before: Play | None = None


ALL_SERVICES = ("serve", "sessionizer", "writer")
USUAL = Volume()

_scenarios: dict[str, Scenario] = {}


def scenario(
    name: str = "",
    *,
    about: str = "",
    volume: Volume | None = USUAL,
    services: Sequence[str] = ALL_SERVICES,
    events: int = 2_000,
    short: bool = False,
    last: bool = False,
    before: Play | None = None,
    **settings: object,
) -> Callable[[Play], Play]:
    """Register a function as a scenario, under its own name unless another one is given."""

    def register(play: Play) -> Play:
        own = name or play.__name__
        said = about or (play.__doc__ or "").strip().splitlines()[0]
        if own in _scenarios:
            raise ValueError(f"two scenarios are called {own}")
        theme = play.__module__.rpartition(".")[2]
        _scenarios[own] = Scenario(
            own, theme, said, play, volume, tuple(services), events, settings, short, last, before
        )
        return play

    return register


def all_scenarios() -> list[Scenario]:
    """Return every scenario, those that come last behind the others."""
    for module in pkgutil.iter_modules(scenarios.__path__, f"{scenarios.__name__}."):
        importlib.import_module(module.name)
    return sorted(_scenarios.values(), key=lambda each: each.last)


def find_scenarios(pattern: str) -> list[Scenario]:
    """Return the scenarios whose name or theme fits a pattern such as `killed_at_*`.

    Raises:
        ValueError: none does.
    """
    found = [
        each
        for each in all_scenarios()
        if fnmatchcase(each.name, pattern) or fnmatchcase(each.theme, pattern)
    ]
    if not found:
        names = ", ".join(each.name for each in all_scenarios())
        raise ValueError(f"no scenario is called {pattern}; there are {names}")
    return found
