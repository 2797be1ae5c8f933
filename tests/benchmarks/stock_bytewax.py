"""What the benchmark compares the sessionizer with: Bytewax, as its documentation shows it.

    python -m bytewax.run tests.benchmarks.stock_bytewax

In: events on one topic (KAFKA, EVENTS, ACCEPTED, SESSIONS name where). Out: a row for each event,
and a session for each stop that finds an open play of its user. One worker, a state in memory
without recovery, the defaults of its Kafka connectors. Nothing is checked.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow

_Plays = list[tuple[int, str, Any]]
_Row = dict[str, Any]


def _row(message: Any) -> _Row:
    event = json.loads(message.value)
    timestamp = int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1000)
    return {**event, "timestamp": timestamp, "received_at": message.timestamp[1]}


def _pair(plays: _Plays | None, row: _Row) -> tuple[_Plays | None, list[_Row]]:
    """Keep a play; return the session of a stop with its user's latest open play."""
    plays = plays or []
    if row["event"] == "play":
        plays.append((row["timestamp"], row["event_id"], row["metadata"]))
        return plays, []
    if not plays:
        return None, []
    started_at, play_id, attributes = plays.pop()
    session = {
        "user_id": row["user_id"],
        "started_at": started_at,
        "ended_at": row["timestamp"],
        "attributes": attributes,
        "play_id": play_id,
        "stop_id": row["event_id"],
    }
    return plays or None, [session]


def _message(row: _Row) -> Any:
    return KafkaSinkMessage(row["user_id"].encode(), json.dumps(row).encode())


_brokers = [os.environ["KAFKA"]]
flow = Dataflow("sessionizer")
_messages = op.input("events", flow, KafkaSource(_brokers, [os.environ["EVENTS"]]))
_rows = op.map("row", _messages, _row)
op.output(
    "accepted",
    op.map("accepted_message", _rows, _message),
    KafkaSink(_brokers, os.environ["ACCEPTED"]),
)
_paired = op.filter("plays_and_stops", _rows, lambda row: row["event"] in {"play", "stop"})
_by_user = op.key_on("user", _paired, lambda row: str(row["user_id"]))
_sessions = op.stateful_flat_map("pair", _by_user, _pair)
op.output(
    "sessions",
    op.map("session_message", _sessions, lambda keyed: _message(keyed[1])),
    KafkaSink(_brokers, os.environ["SESSIONS"]),
)
