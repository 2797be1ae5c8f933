"""How near the numbers of different users come."""

from __future__ import annotations

from datetime import date

import pytest

from query.question import Counted, Grouping, Question
from query.statements.metrics import count_events
from query.store import Store
from runtime.clickhouse import AsyncClient

pytestmark = pytest.mark.anyio

_INSERT = """
INSERT INTO events (event_id, user_id, event, timestamp, received_at, metadata, source, log_offset,
    kafka_partition, kafka_offset)
SELECT 'e', concat('user-', toString(number % {users:UInt64})), 'play',
    fromUnixTimestamp64Milli(toInt64(1735689600000 + number * 100 % 86400000), 'UTC'), now64(3),
    '{}', '', number, number % 4, number
FROM numbers({events:UInt64})
"""


@pytest.mark.parametrize(("users", "most_off"), [(300, 0), (20_000, 0.01), (400_000, 0.01)])
async def test_different_users_are_counted_within_a_hundredth(
    client: AsyncClient, store: Store, users: int, most_off: float
) -> None:
    await client.command(_INSERT, parameters={"users": users, "events": 2 * users})
    day = date(2025, 1, 1)
    for grouping in (Grouping.DAY, Grouping.MONTH):
        for timezone in ("UTC", "Atlantic/Reykjavik"):
            question = Question(day, day, grouping, timezone=timezone, counted=Counted.USERS)
            (found,) = await store.ask(count_events(question))
            assert abs(found.n - users) <= most_off * users, (found.n, users)
