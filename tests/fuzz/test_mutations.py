"""Every reader against mutated samples: no crash, and what must hold holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import INPUTS
from tests.fuzz.budget import BUDGET, DEFAULT_SEED, Budget
from tests.fuzz.campaign import CORPUS, FoundError, Target, run, smallest
from tests.fuzz.targets import TARGETS

_by_name = pytest.mark.parametrize("target", TARGETS, ids=[each.name for each in TARGETS])


@_by_name
@pytest.mark.timeout(900)
def test_it_holds_for_any_bytes(
    target: Target, record_property: Callable[[str, object], None]
) -> None:
    tried = run(target, BUDGET)
    record_property(INPUTS, tried)
    assert tried >= target.least


def test_every_folder_of_samples_has_its_target() -> None:
    assert {each.name for each in CORPUS.iterdir()} == {each.name for each in TARGETS}


def test_what_fails_is_made_small_and_told_with_its_seed() -> None:
    def refuse_braces(sample: bytes) -> None:
        assert b"{{" not in sample

    target = Target("body", refuse_braces, 5000, 0)
    with pytest.raises(FoundError, match=r"(?s)seed 20250118.*b'\{\{'"):
        run(target, Budget(DEFAULT_SEED, 0))
    assert smallest(b"abcXdefYgh", lambda sample: b"X" in sample and b"Y" in sample) == b"XY"
