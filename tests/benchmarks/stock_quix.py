"""What the benchmark compares the sessionizer with: Quix Streams, as its documentation shows it.

    python -m tests.benchmarks.stock_quix

In: events on one topic (KAFKA, EVENTS, ACCEPTED, SESSIONS, GROUP, FOLDER name where). Out: a row
for each event, and a session for each stop that finds an open play of its user, kept in the state.
JSON serializers and the defaults: at least once, a state in RocksDB. Nothing is checked.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from quixstreams import Application, State


def main() -> None:
    """Run until the process is ended."""
    app = Application(
        broker_address=os.environ["KAFKA"],
        consumer_group=os.environ["GROUP"],
        auto_offset_reset="earliest",
        state_dir=os.environ["FOLDER"],
        loglevel="WARNING",
    )
    events = app.topic(os.environ["EVENTS"], value_deserializer="json")
    accepted = app.topic(os.environ["ACCEPTED"], value_serializer="json")
    sessions = app.topic(os.environ["SESSIONS"], value_serializer="json")
    rows = app.dataframe(events).apply(_row, metadata=True)
    # Outputs carry the time of their making, as the sessionizer's do: rates go by it.
    rows = rows.set_timestamp(lambda *row: int(time.time() * 1000))
    rows.to_topic(accepted)
    rows = rows[rows["event"].isin(["play", "stop"])]
    rows.apply(_pair, stateful=True).filter(lambda session: session is not None).to_topic(sessions)
    app.run()


def _row(event: Any, key: Any, received_at: int, headers: Any) -> dict[str, Any]:
    timestamp = int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1000)
    return {**event, "timestamp": timestamp, "received_at": received_at}


def _pair(row: dict[str, Any], state: State) -> dict[str, Any] | None:
    """Keep a play; return the session of a stop with its user's latest open play."""
    plays = state.get("plays", [])
    if row["event"] == "play":
        state.set("plays", [*plays, [row["timestamp"], row["event_id"], row["metadata"]]])
        return None
    if not plays:
        return None
    started_at, play_id, attributes = plays.pop()
    state.set("plays", plays)
    return {
        "user_id": row["user_id"],
        "started_at": started_at,
        "ended_at": row["timestamp"],
        "attributes": attributes,
        "play_id": play_id,
        "stop_id": row["event_id"],
    }


if __name__ == "__main__":
    main()
