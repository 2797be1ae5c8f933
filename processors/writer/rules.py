"""What holds for every partition of a topic: its table, retention, pace; the group.

In: settings, at the start. Out: the same for every owner. Never: a change while the process runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.tables import BaseTable


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a topic's owners.

    Attributes:
        log_id: part of every deduplication token.
        base: the table that takes the topic's rows.
        kept_days: how long the table keeps a row, from its receipt; 0 = for ever.
        inserts_per_second: the most inserts of a partition in a second.
        session_s: after how long without a sign of life a partition goes to another member.
    """

    log_id: str
    base: BaseTable
    kept_days: int
    inserts_per_second: int
    session_s: float
