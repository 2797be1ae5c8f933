"""What remains of a user who is forgotten, where, and until when.

In: the settings of the topics at the broker, a moment. Out: sentences. Never: a promise beyond what
Kafka keeps to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from cli.repair.findings import counted
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
    retention: Mapping[str, Mapping[str, str]],
    unclear: Sequence[Place],
    of_other_logs: int,
    now_ms: int,
) -> list[str]:
    """Return what remains, one sentence each.

    Args:
        retention: how long the broker keeps what has the user's id, by topic.
        unclear: rejected records that cannot be read and contain the text.
        of_other_logs: how many imported rows of other logs are of a user of the same id.
        now_ms: the present, in ms since 1970.
    """
    said = [
        f"in {', '.join(topics)} of Kafka{_how_long(values, now_ms)}"
        for values, topics in _by_values(retention).items()
    ]
    said += [
        "in event_counts and session_stats, the counts of all users: the numbers, without the name",
        "in files of ClickHouse that nothing reads any more: about ten minutes",
        "in files of `track export`, from where `track import` brings nothing of it back: delete "
        "them, or export their days again while events has the days",
        "in backups, which are yours: after one is put back, `track repair` forgets again",
    ]
    if unclear:
        places = ", ".join(map(str, unclear[:_SHOWN]))
        more = ", …" if len(unclear) > _SHOWN else ""
        said.append(
            f"in rejected_events, until its days are over: {counted(len(unclear), 'record')} that "
            f"cannot be read and contain the text ({places}{more}); see `track rejected show`"
        )
    if of_other_logs:
        said.append(in_other_logs(of_other_logs))
    return said


def in_other_logs(rows: int) -> str:
    """Return the sentence on imported rows of other logs."""
    return (
        f"in imported_events: {counted(rows, 'row')} of other logs under the same user_id; a mark "
        "counts for its own log alone, so they go only with their days, by DROP PARTITION"
    )


def _by_values(
    retention: Mapping[str, Mapping[str, str]],
) -> Mapping[tuple[tuple[str, str], ...], list[str]]:
    """Return the topics that have the same settings together."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for topic, values in retention.items():
        found.setdefault(tuple(values.items()), []).append(topic)
    return found


def _how_long(values: tuple[tuple[str, str], ...], now_ms: int) -> str:
    """Return how long a topic keeps what it has now.

    Kafka drops a segment when its last record is too old, and begins another one after a while.
    """
    ms = {name: int(value) for name, value in values}
    if _RETENTION not in ms:
        return (
            ": what it has of the user, until the broker compacts it; it takes what is "
            f"{ms[_SEGMENT] / _DAY_MS:g} days old"
        )
    last = datetime.fromtimestamp((now_ms + sum(ms.values()) + _HOUR_MS) / 1000, UTC)
    return f", until {last:%Y-%m-%d} at the latest: the user's records"
