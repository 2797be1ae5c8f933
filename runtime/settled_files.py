"""Files that others change while a service runs, taken when they have settled.

In: what tells one content from another. Out: that, at each look at which it was as at the look
before. Never: a file that was emptied and is about to be written; one of two that belong together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

Stamp = TypeVar("Stamp")


async def settled(stamp_of: Callable[[], Stamp], every_s: float) -> AsyncIterator[Stamp]:
    """Give the stamp again and again, for ever, where it has stayed from one look to the next."""
    last = stamp_of()
    while True:
        await asyncio.sleep(every_s)
        stamp = stamp_of()
        if stamp == last:
            yield stamp
        last = stamp
