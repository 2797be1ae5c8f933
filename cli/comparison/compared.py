"""What a comparison says: what was held against what, and in what it differs.

In: words. Out: lines for people. Never: a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Compared:
    """What was compared, and each difference as a sentence."""

    what: str
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A line for people, and one more for each difference."""
        mark = "✗" if self.differences else "✓"
        return "\n    ".join((f"{mark} {self.what}", *self.differences))
