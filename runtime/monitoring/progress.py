"""How far a process has got, partition by partition, for who watches over it.

In: plain numbers of the work. Out: the same, to any thread. Never: a judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one partition stands.

    Attributes:
        where: the topic and the partition.
        next: the offset of the next record to be done; None while that is being found out.
        waits: whether it rightly gets no further now, for instance for a server that is away.
    """

    where: TopicPartition
    next: int | None
    waits: bool = False


Report = Callable[[], Sequence[Progress]]
"""Tells how far each partition is; it is called by another thread than the one that works."""
