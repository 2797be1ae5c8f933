"""Who is forgotten: the marks in the topic `forgotten`, read.

In: settings and the log's id. Out: the marks. Never: a change.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from contracts.forgetting import Marks, decode_mark
from contracts.topics import Topics
from runtime.kafka.consumers import read_latest
from runtime.settings import Settings

_WITHIN_S = 30.0


async def read_marks(settings: Settings, log_id: str) -> Marks:
    """Return the marks of all users who are forgotten.

    Raises:
        KafkaError, TimeoutError: the broker does not answer.
    """
    topic = Topics.of(settings.namespace).forgotten
    async with asyncio.timeout(_WITHIN_S):
        latest = await read_latest(settings.kafka_servers, topic, 0)
    return Marks(log_id, {key.decode(): decode_mark(value) for key, value in latest.items()})


@dataclass(slots=True)
class KnownMarks:
    """The marks as of the last look; whoever finds a trace of one that he does not know looks."""

    settings: Settings
    marks: Marks

    async def look_again(self) -> Marks:
        """Read the marks, and return them.

        Raises:
            KafkaError, TimeoutError: the broker does not answer.
        """
        self.marks = await read_marks(self.settings, self.marks.log_id)
        return self.marks
