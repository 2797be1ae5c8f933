"""What a watchdog sees, over a Kafka in memory: lag, retention, and who must end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition

from runtime.kafka.probe import Bounds
from runtime.monitoring.lookout import Lookout
from runtime.monitoring.progress import Progress
from runtime.monitoring.retention import Kept

pytestmark = pytest.mark.anyio

HERE = TopicPartition("t", 0)
HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000


@dataclass
class MemoryProbe:
    """A log: its bounds, and when the record at an offset was written."""

    start: int = 0
    end: int = 0
    written: dict[int, int] = field(default_factory=dict)
    kept_as: Kept = Kept(8 * HOUR_MS, -1)
    reads: int = 0

    async def bounds(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        return dict.fromkeys(places, Bounds(self.start, self.end))

    async def received_at(self, place: TopicPartition, offset: int, end: int) -> int | None:
        self.reads += 1
        found = [at for each, at in sorted(self.written.items()) if offset <= each < end]
        return found[0] if found else None

    async def kept(self, topics: Iterable[str]) -> Mapping[str, Kept]:
        return dict.fromkeys(topics, self.kept_as)


async def look(
    lookout: Lookout, probe: MemoryProbe, next_: int | None, now: float, *, waits: bool = False
) -> str | None:
    now_ms = NOW_MS + round(1000 * now)
    return await lookout.look(probe, [Progress(HERE, next_, waits)], now, now_ms)


async def test_whoever_stands_still_for_the_limit_must_end() -> None:
    probe, lookout = MemoryProbe(end=10, written={5: NOW_MS}), Lookout(30, 10)
    verdicts = [await look(lookout, probe, 5, now) for now in range(0, 31, 5)]
    assert verdicts[:-1] == [None] * 6
    assert verdicts[-1] is not None
    assert "t/0: nothing was done for 30 s" in verdicts[-1]
    assert "offset 9" in verdicts[-1]
    assert lookout.views[0].lag == 5
    assert lookout.views[0].stalled_s == 30


async def test_without_a_limit_nobody_must_end() -> None:
    probe, lookout = MemoryProbe(end=10, written={5: NOW_MS}), Lookout(0, 10)
    assert [await look(lookout, probe, 5, now) for now in range(0, 999, 5)] == [None] * 200


async def test_markers_at_the_end_of_a_log_are_nothing_to_be_done() -> None:
    """The offset after the last record lies before the marker of its transaction, for ever."""
    probe, lookout = MemoryProbe(end=10, written={8: NOW_MS}), Lookout(30, 10)
    assert [await look(lookout, probe, 9, now) for now in range(0, 300, 5)] == [None] * 60
    assert lookout.views[0].lag == 0
    assert probe.reads == 1
    probe.end, probe.written[12] = 14, NOW_MS
    verdicts = [await look(lookout, probe, 9, now) for now in range(300, 340, 5)]
    assert verdicts[-1] is not None


async def test_whoever_waits_or_is_being_restored_must_not_end() -> None:
    probe, lookout = MemoryProbe(end=10, written={5: NOW_MS}), Lookout(30, 10)
    assert [await look(lookout, probe, 5, now, waits=True) for now in range(0, 99, 5)] == [
        None
    ] * 20
    assert [await look(lookout, probe, None, now) for now in range(100, 199, 5)] == [None] * 20
    assert lookout.views == []
    assert lookout.owned == 1


async def test_a_process_that_was_stopped_and_goes_on_has_all_its_patience() -> None:
    probe, lookout = MemoryProbe(end=10, written={5: NOW_MS}), Lookout(30, 10)
    assert await look(lookout, probe, 5, 0) is None
    assert await look(lookout, probe, 5, 3600) is None


async def test_after_kafka_was_away_all_begins_anew() -> None:
    probe, lookout = MemoryProbe(end=10, written={5: NOW_MS}), Lookout(30, 10)
    for now in range(0, 30, 5):
        assert await look(lookout, probe, 5, now) is None
    lookout.forget()
    assert lookout.views[0].stalled_s == 0
    assert [await look(lookout, probe, 5, now) for now in range(60, 90, 5)] == [None] * 6


async def test_a_healthy_process_has_no_record_read() -> None:
    probe, lookout = MemoryProbe(end=10), Lookout(30, 10)
    for step in range(100):
        probe.end = 10 + step
        assert await look(lookout, probe, probe.end, 5 * step) is None
        probe.end += 1  # one more has come, and is done by the next look
    assert probe.reads == 0
    assert lookout.views[0].left_s == 8 * 3600


async def test_a_warning_comes_before_data_is_in_danger(caplog: pytest.LogCaptureFixture) -> None:
    """Kept for 8 hours; the oldest record that is not done grows old while work goes on."""
    written = dict.fromkeys(range(2000), NOW_MS)
    probe, lookout = MemoryProbe(end=2000, written=written), Lookout(30, 10)
    warned_at = []
    with caplog.at_level(logging.WARNING):
        for minute in range(0, 481, 2):
            caplog.clear()
            assert await look(lookout, probe, minute, 60 * minute) is None
            if caplog.messages:
                warned_at.append(minute)
                assert "t/0: Kafka may drop records that are not done in" in caplog.messages[0]
    assert warned_at[0] == 362  # a quarter of the time is left after 6 hours
    assert warned_at[-1] == 480
    assert lookout.views[0].left_s <= 0


async def test_a_process_that_begins_far_behind_is_warned_of_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probe = MemoryProbe(end=10, written={5: NOW_MS - 7 * HOUR_MS})
    lookout = Lookout(30, 10)
    with caplog.at_level(logging.WARNING):
        await look(lookout, probe, 5, 0)
    assert "in 1.0 hours; 5 offsets are to be done" in caplog.text
    assert lookout.views[0].left_s == 3600


async def test_old_work_and_a_new_record_are_no_danger(caplog: pytest.LogCaptureFixture) -> None:
    """The last record was done hours ago, and a new one has just come."""
    probe = MemoryProbe(end=10, written={9: NOW_MS - 100})
    lookout = Lookout(30, 10)
    with caplog.at_level(logging.WARNING):
        await look(lookout, probe, 5, 0)
    assert caplog.messages == []


async def test_a_topic_bound_by_size_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    probe = MemoryProbe(start=1000, end=2000, written={1100: NOW_MS}, kept_as=Kept(-1, 5_000))
    with caplog.at_level(logging.WARNING):
        await look(Lookout(30, 10), probe, 1100, 0)
    assert "kept up to 5000 bytes" in caplog.text
