"""Arbitrary events the whole way, from HTTP to ClickHouse: fields come back as the rules say."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any
from urllib.parse import quote

import clickhouse_connect
import httpx
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from contracts.events import MAX_EVENT_BYTES
from tests.fuzz import reference
from tests.fuzz.budget import BUDGET
from tests.fuzz.tables import is_kept
from tests.running_stack import RunningStack

BACK_WITHIN_S = 30.0
PART_OF_TIME = 0.15
SECONDS_A_BATCH = 1.5  # about; there is no other way to bound hypothesis by time

SELECT = """
SELECT event_id, user_id, event, source, toUnixTimestamp64Milli(timestamp),
    toUnixTimestamp64Milli(received_at), metadata
FROM events WHERE startsWith(event_id, {run:String})
"""

# A path that stands twice is one in the table: no dots in keys, no key twice (they are a dict's).
keys = st.text(max_size=12).filter(lambda key: "." not in key)
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from((2**63 - 1, 2**63, 2**64, -(2**63) - 1, 1e308, 5e-324, 10**400))
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)
long_texts = st.builds(str.__mul__, st.text(min_size=1, max_size=3), st.integers(100, 900))
timestamps = st.none() | st.sampled_from(
    (
        "1970-01-01T00:00:00Z",
        "2024-02-29T23:59:59.999999999-11:30",
        "2025-01-18T14:30:00.1239Z",
        "9999-12-31T23:59:59.999Z",
    )
)
events = st.fixed_dictionaries(
    {
        "event": (st.text(min_size=1, max_size=20) | st.text(min_size=200, max_size=200)).filter(
            lambda name: name != "date"
        ),
        "user_id": st.text(min_size=1, max_size=20) | st.text(min_size=256, max_size=256),
        "timestamp": timestamps,
        "metadata": st.none()
        | st.dictionaries(keys, values, max_size=5)
        | st.dictionaries(keys, long_texts, max_size=9),
    }
)


FOUND = [
    ({"event": "play", "user_id": "ada", "timestamp": None, "metadata": {"x": lists}}, True)
    for lists in ([["", "7"], [["a", None, False]], None], [["a"], ["b"], None])
]


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # it would hide the failure
def test_what_was_sent_comes_back(stack: RunningStack) -> None:
    batches = 2 + int(BUDGET.seconds * PART_OF_TIME / SECONDS_A_BATCH)
    reader = clickhouse_connect.get_client(dsn=stack.clickhouse, database=stack.stack.namespace)

    @settings(
        max_examples=batches,
        derandomize=not BUDGET.is_long,
        database=None,
        deadline=None,
        # A batch that fails says which event it was: making it smaller would take minutes.
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(events, st.booleans()), min_size=10, max_size=25))
    @example(FOUND)
    def check(batch: list[tuple[dict[str, Any], bool]]) -> None:
        send_and_compare(stack, reader, batch)

    try:
        check()
    finally:
        reader.close()


def send_and_compare(
    stack: RunningStack, reader: Any, batch: list[tuple[dict[str, Any], bool]]
) -> None:
    """Send a batch, wait until it is counted, and hold each row against the rules."""
    run = secrets.token_hex(8)
    sent: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=stack.http, timeout=10) as client:
        for number, (event, is_ascii) in enumerate(batch):
            event_id = f"{run}-{number}-é\0\n"
            body = json.dumps({**event, "event_id": event_id}, ensure_ascii=is_ascii).encode()
            if len(body) > MAX_EVENT_BYTES:
                continue
            answer = client.post("/track", content=body)
            assert answer.status_code == 200, (body, answer.text)
            assert answer.headers["x-event-id"] == quote(event_id, safe="")
            read = reference.read_event(body)
            assert isinstance(read, dict), (body, read)
            sent[event_id] = read
    rows = wait_for_rows(reader, run, len(sent))
    assert len(rows) == len(sent)
    for event_id, user_id, name, source, timestamp, received_at, metadata in rows:
        event = sent.pop(event_id)
        assert (user_id, name, source) == (event["user_id"], event["event"], "")
        assert abs(int(received_at) - time.time() * 1000) < 120_000
        at, kept = reference.admit(event, int(received_at))
        assert int(timestamp) == at, event
        if not is_kept(kept, metadata):
            raise AssertionError(f"kept {differing(kept, metadata)!r}, of {event!r}")
    assert not sent


def differing(kept: dict[str, Any], found: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the keys of which one side alone is not as the other."""
    return [
        (key, kept.get(key), found.get(key))
        for key in {**kept, **found}
        if not is_kept(
            {name: value for name, value in kept.items() if name == key},
            {name: value for name, value in found.items() if name == key},
        )
    ]


def wait_for_rows(reader: Any, run: str, count: int) -> list[Any]:
    """Return the rows of a run, once they are there."""
    ends_at = time.monotonic() + BACK_WITHIN_S
    while True:
        lines = reader.raw_query(
            SELECT,
            parameters={"run": run},
            fmt="JSONCompactEachRow",
            settings={"output_format_json_quote_64bit_integers": 0},
        ).splitlines()
        if len(lines) >= count or time.monotonic() > ends_at:
            return [reference.read_json(line) for line in lines]
        time.sleep(0.05)
