"""Whether ratios are what they were: `make bench-check`.

In: figures of this run and those recorded. Out: a sentence for each that is worse by more than the
machine's noise. Never: an absolute figure, which says more about the machine than about the code.

What the noise is: rounds of one build differ by up to a fifth on two shared cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks.figures import RATIOS, TARGETS, Figure, number

MOST_WORSE = 0.25


def regressions(figures: Sequence[Figure], recorded: Mapping[str, object]) -> Iterator[str]:
    """Give a sentence for each ratio that is worse than the recorded one."""
    for figure in figures:
        before = recorded.get(figure.name)
        if figure.name not in RATIOS or not isinstance(before, int | float):
            continue
        target = TARGETS.get(figure.name)
        is_higher_better = target is None or target.at_least
        worse = before / figure.value if is_higher_better else figure.value / before
        if worse > 1 + MOST_WORSE:
            yield f"{figure.name} is {number(figure.value)}; recorded is {number(before)}"
