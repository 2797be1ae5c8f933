"""The end of a task that is cancelled, also where the cancellation gets lost.

In: a task. Out: the same, ended. Never: trust in a single `cancel()`.

aiokafka suppresses `CancelledError` while it waits for its own tasks to close: a cancellation that
arrives just then is gone, and the task goes on as if nobody had asked.
"""

from __future__ import annotations

import asyncio

_AGAIN_S = 1.0  # an ordinary end, connections closed in order, takes less


async def cancel(task: asyncio.Future[None]) -> None:
    """Cancel until the task has ended; what it raised stays in it."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_S)
