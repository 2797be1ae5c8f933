"""How many bytes of bodies a process holds at once.

In: bytes that come and go. Out: how many are free. Never: a guess; they are counted as they come.
"""

from __future__ import annotations


class Budget:
    """Bytes that are free; who takes some gives them back."""

    __slots__ = ("free",)

    def __init__(self, most: int) -> None:
        self.free = most
