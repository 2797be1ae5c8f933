"""How much a fuzzing test does: its seed, and how long it goes on.

In: FUZZ_SEED and FUZZ_SECONDS of the environment, which `make fuzz` sets. Out: a budget. Never: a
random seed that is not told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

DEFAULT_SEED = 20250118


@dataclass(frozen=True, slots=True)
class Budget:
    """A seed, and for how many seconds a test goes on after its least number of inputs."""

    seed: int
    seconds: float

    @property
    def is_long(self) -> bool:
        """Whether this is `make fuzz`, not a part of `make test`."""
        return self.seconds > 0

    def share(self, part: float) -> Budget:
        """Return the budget of a test that takes this part of the time."""
        return Budget(self.seed, self.seconds * part)


def budget_of(environment: dict[str, str]) -> Budget:
    """Return the budget that the environment asks for; without one, the least."""
    return Budget(
        int(environment.get("FUZZ_SEED") or DEFAULT_SEED),
        float(environment.get("FUZZ_SECONDS") or 0),
    )


BUDGET = budget_of(dict(os.environ))
