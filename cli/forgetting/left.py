"""What is left of a record whose row is never to be there again. Pure.

In: a record of `accepted`, `sessions` or `rejected`. Out: a line for the table that keeps what is
left. Never: anything that names a user. (Of a row that is in its table, ClickHouse makes the same:
`contracts.tables.BaseTable.left`.)
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiokafka import TopicPartition

from contracts.tables import BaseTable
from contracts.timestamps import DAY_MS

_QUARTER_MS = 900_000


def left_of(base: BaseTable, where: TopicPartition, record: Any) -> bytes:
    """Return the line, as a JSON object, for a record of the table's topic."""
    row: dict[str, Any] = msgspec.json.decode(record.value)
    made = {
        "timestamp": row.get("timestamp", 0) // _QUARTER_MS * _QUARTER_MS,
        "started_at": row.get("started_at", 0) // _QUARTER_MS * _QUARTER_MS,
        "received_at": (row["received_at"] // DAY_MS + 1) * DAY_MS,
        "kafka_topic": where.topic,
        "kafka_partition": where.partition,
        "kafka_offset": record.offset,
    }
    left = {column: made.get(column, row.get(column)) for column in base.left}
    return msgspec.json.encode(left) + b"\n"
