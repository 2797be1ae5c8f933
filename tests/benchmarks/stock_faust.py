"""What the benchmark compares the sessionizer with: a plain Faust application, as its guide shows
it.

    faust -A tests.benchmarks.stock_faust worker --without-web

In: events on one topic (KAFKA, EVENTS, SESSIONS, DATADIR name where). Out: a session for each stop
that finds an open play of its user, kept in a table. JSON serializers and Faust's defaults; it is
neither exactly once nor does it check, admit or remember ids.
"""

from __future__ import annotations

import os
from typing import Any

import faust

app = faust.App(
    os.environ["SESSIONS"],
    broker=f"kafka://{os.environ['KAFKA']}",
    datadir=os.environ["DATADIR"],
    topic_partitions=4,
)
events = app.topic(os.environ["EVENTS"], value_serializer="json")
sessions = app.topic(os.environ["SESSIONS"], value_serializer="json")
open_plays = app.Table("open_plays", default=list, partitions=4)


@app.agent(events)  # type: ignore[untyped-decorator]
async def pair(stream: Any) -> None:
    """Pair each stop with its user's latest open play."""
    async for event in stream:
        user, kind = event["user_id"], event["event"]
        if kind == "play":
            open_plays[user] = [*open_plays[user], event["timestamp"]]
        elif kind == "stop" and (plays := open_plays[user]):
            open_plays[user] = plays[:-1]
            session = {"user_id": user, "started_at": plays[-1], "ended_at": event["timestamp"]}
            await sessions.send(key=user, value=session)
