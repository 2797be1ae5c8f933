"""What remains of a user who is forgotten, where, and until when.

In: the settings of the topics at the broker, a moment. Out: sentences. Never: a promise beyond what
Kafka keeps to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from contracts.replays import Place
from contracts.topics import Topics
from runtime.kafka.admin import describe_settings, open_admin
from runtime.kafka.servers import KafkaServers

_RETENTION, _SEGMENT = "retention.ms", "segment.ms"
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_SHOWN = 5


async def read_retention(servers: KafkaServers, topics: Topics) -> Mapping[str, Mapping[str, str]]:
    """Return how long the broker keeps what has the user's id, by topic.

    Raises:
        KafkaError: a topic is not there, or the broker does not answer.
    """
    kept = (topics.events, topics.accepted, topics.sessions, topics.rejected)
    compacted = (topics.state, topics.replayed)
    wanted = {
        **dict.fromkeys(kept, (_RETENTION, _SEGMENT)),
        **dict.fromkeys(compacted, (_SEGMENT,)),
    }
    async with open_admin(servers) as admin:
        return await describe_settings(admin, wanted)


def sentences(
    retention: Mapping[str, Mapping[str, str]], unclear: Sequence[Place], now_ms: int
) -> list[str]:
    """Return what remains, one sentence each."""
    said = [_of_topic(topic, values, now_ms) for topic, values in retention.items()]
    said += [
        "in event_counts and session_stats, the counts of all users: the numbers, without the name",
        "in files of ClickHouse that nothing reads any more: about ten minutes",
        "in backups, which are yours: after one is put back, `track repair` forgets again",
    ]
    if unclear:
        places = ", ".join(map(str, unclear[:_SHOWN]))
        more = ", …" if len(unclear) > _SHOWN else ""
        said.append(
            f"in rejected_events, until its days are over: {len(unclear):,} records that cannot be "
            f"read and contain the text ({places}{more}); `track rejected show` shows them"
        )
    return said


def _of_topic(topic: str, values: Mapping[str, str], now_ms: int) -> str:
    """Return how long a topic keeps what it has now.

    Kafka drops a segment when its last record is too old, and begins another one after a while.
    """
    segment_ms = int(values[_SEGMENT])
    if _RETENTION not in values:
        return (
            f"in {topic} of Kafka: what was kept of the user until now, until the broker compacts "
            f"it, which it does with what is {segment_ms / _DAY_MS:g} days old"
        )
    last = datetime.fromtimestamp(
        (now_ms + int(values[_RETENTION]) + segment_ms + _HOUR_MS) / 1000, UTC
    )
    return f"in {topic} of Kafka, until {last:%Y-%m-%d} at the latest: the user's records"
