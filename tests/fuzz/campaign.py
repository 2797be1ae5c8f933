"""Many mutated samples against one check; what fails is made small and told with its seed.

In: a target, a budget. Out: how many samples were tried. Never: a failure without the bytes that
make it again.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.budget import Budget
from tests.fuzz.mutations import Mutator

CORPUS = Path(__file__).parent / "corpus"
Check = Callable[[bytes], None]
_MOST_TRIES = 3000


@dataclass(frozen=True, slots=True)
class Target:
    """A check that must hold for any bytes, and the folder of the samples that it begins with."""

    name: str
    check: Check
    least: int  # samples in `make test`
    part: float  # of the time of `make fuzz`

    def corpus(self) -> dict[str, bytes]:
        """Return the kept samples by the names of their files."""
        return {each.name: each.read_bytes() for each in sorted((CORPUS / self.name).iterdir())}


class FoundError(AssertionError):
    """A sample for which the check does not hold."""


def run(target: Target, budget: Budget) -> int:
    """Try the kept samples as they are, and then mutations of them."""
    samples = target.corpus()
    for name, sample in samples.items():
        _try(target, sample, f"the kept sample {name}")
    # Each target has its own sequence, so that one alone finds what it finds among all.
    rng = random.Random(budget.seed ^ zlib.crc32(target.name.encode()))
    mutator = Mutator(rng, list(samples.values()))
    ends_at, tried = time.monotonic() + budget.seconds * target.part, 0
    while tried < target.least or time.monotonic() < ends_at:
        _try(target, mutator.next(), f"sample {tried} of seed {budget.seed}")
        tried += 1
    return tried


def smallest(sample: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Return a part of the sample that still fails, by leaving out ever smaller pieces."""
    size, tries = len(sample) // 2, 0
    while size and tries < _MOST_TRIES:
        at = 0
        while at < len(sample) and tries < _MOST_TRIES:
            shorter = sample[:at] + sample[at + size :]
            tries += 1
            if fails(shorter):
                sample = shorter
            else:
                at += size
        size //= 2
    return sample


def _try(target: Target, sample: bytes, what: str) -> None:
    try:
        target.check(sample)
    except Exception as error:
        found = type(error)
        small = smallest(sample, lambda shorter: _raises(target.check, shorter, found))
        raise FoundError(
            f"{target.name}, {what}: {error!r}\n{small!r}\n"
            f"Keep it as a file in tests/fuzz/corpus/{target.name}/ when it is mended."
        ) from error


def _raises(check: Check, sample: bytes, error: type[Exception]) -> bool:
    try:
        check(sample)
    except Exception as raised:  # noqa: BLE001  # whatever a reader may raise
        return type(raised) is error
    return False
