"""Commands of which one run at a time may write: its producer fences the run before it.

In: the work of a command. Out: its result. Never: a traceback of a fenced producer beside the
sentence that the command itself says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiokafka.errors import ProducerFenced

Result = TypeVar("Result")


def run_fenceable(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the work in an event loop of its own."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(_pass_over_fencing)
        return runner.run(work)


def _pass_over_fencing(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of a fenced producer: aiokafka leaves its error in futures of its own as well."""
    if not isinstance(context.get("exception"), ProducerFenced):
        loop.default_exception_handler(context)
