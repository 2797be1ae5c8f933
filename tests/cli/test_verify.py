"""`track verify` on real servers: silent about what agrees, precise about what was broken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from cli.comparison.reading import read_pieces
from cli.verify import verify
from runtime.kafka.consumers import open_consumer
from runtime.settings import Settings
from runtime.startup import ServerAwayError
from tests.processors.writer.pipeline import Pipeline

NOW = "SETTINGS mutations_sync = 2"
OLD_BUCKET = "toDateTime('2020-01-01 00:00:00', 'UTC')"


@pytest.fixture(autouse=True)
def _nobody_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is soon sure to stay so."""
    monkeypatch.setattr("cli.comparison.rollups._BETWEEN_LOOKS_S", 0.02)


@pytest.fixture
def pipeline(settings: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    """Tables that agree with their topics; three of the rows were refused and put aside."""
    made = Pipeline(settings, tmp_path)
    made.produce(300, poison=3)
    made.run_until_done()
    yield made
    made.close()


def findings(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what is said of differences, and see that the answer is accordingly."""
    capsys.readouterr()
    agrees = verify(pipeline.settings)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line[0] in "✓✗" for line in lines) == 6
    assert agrees == (not any(line.startswith("✗") for line in lines))
    return [line.strip() for line in lines if line.startswith(" ")]


def break_it(pipeline: Pipeline, *statements: str) -> None:
    for statement in statements:
        pipeline.clickhouse.command(statement)


def test_what_agrees_is_said_and_nothing_more(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(pipeline.settings)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("✓") for line in lines)
    assert f"{pipeline.topics.accepted} and events: 240 records" in lines[0]


def test_a_log_that_gives_nothing_is_not_waited_for_without_end(pipeline: Pipeline) -> None:
    asyncio.run(_read_beyond_the_end(pipeline))


async def _read_beyond_the_end(pipeline: Pipeline) -> None:
    where = TopicPartition(pipeline.topics.accepted, 0)
    async with open_consumer(pipeline.settings.kafka_servers) as consumer:
        end = (await consumer.end_offsets([where]))[where]
        read = [piece async for piece in read_pieces(consumer, where, 0, end)]
        assert (read[0].first, read[-1].last) == (0, end - 1)
        with pytest.raises(ServerAwayError, match=f"gave nothing of .* from offset {end} on"):
            async for _ in read_pieces(consumer, where, 0, end + 1, stalled_s=3):
                pass
    # An empty partition at the end must not keep the consumer from ending.
    async with asyncio.timeout(30), open_consumer(pipeline.settings.kafka_servers) as consumer:
        assert [piece async for piece in read_pieces(consumer, where, 0, end)] != []
        assert [piece async for piece in read_pieces(consumer, where, end, end)] == []


def test_what_the_writer_would_refuse_is_a_difference(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.set_offset(pipeline.topics.sessions, 100, partition=0)
    pipeline.set_offset(pipeline.topics.accepted, 3, "mine", partition=1)
    found = findings(pipeline, capsys)
    assert any("it is not the log that was read before" in each for each in found)
    assert any("has without a record that was committed" in each for each in found)
    lowest = pipeline.scalar("SELECT min(kafka_offset) FROM events WHERE kafka_partition = 0")
    row = f"kafka_partition = 0 AND kafka_offset = {lowest}"
    break_it(pipeline, f"ALTER TABLE events UPDATE log_offset = 99999 WHERE {row} {NOW}")
    other = f"partition 0: events has without a record that was committed 1 offset: {lowest}"
    assert other in findings(pipeline, capsys)


def test_a_row_that_is_lost_or_doubled_or_foreign_is_named(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = pipeline.scalar("SELECT max(kafka_offset) FROM events WHERE kafka_partition = 0")
    twice = pipeline.scalar("SELECT min(kafka_offset) FROM sessions WHERE kafka_partition = 1")
    break_it(
        pipeline,
        f"ALTER TABLE events DELETE WHERE kafka_partition = 0 AND kafka_offset = {lost} {NOW}",
        "INSERT INTO sessions SELECT * FROM sessions "
        f"WHERE kafka_partition = 1 AND kafka_offset = {twice}",
        "INSERT INTO rejected_events SELECT * REPLACE(1000000 AS kafka_offset) "
        f"FROM rejected_events WHERE kafka_topic = '{pipeline.topics.rejected}' LIMIT 1",
    )
    found = findings(pipeline, capsys)
    assert f"partition 0: events lacks 1 offset: {lost}" in found
    assert f"partition 1: sessions has twice 1 offset: {twice}" in found
    assert any(
        "rejected_events has without a record that was committed 1 offset: 1000000" in each
        for each in found
    )
    # The row that is gone is still counted in both rollups; the double session is in its own.
    assert sorted(each.split(",")[0] for each in found if "the rows give" in each) == [
        "partition 0: event_counts_15m",
        "partition 0: user_counts_15m",
    ]


def test_a_rollup_that_differs_is_named_by_its_key(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(
        pipeline,
        f"ALTER TABLE session_stats_15m DELETE WHERE kafka_partition = 3 {NOW}",
        "INSERT INTO user_counts_15m SELECT * FROM user_counts_15m "
        "WHERE user_id = 'user-7' LIMIT 1",
    )
    counts, sessions = sorted(findings(pipeline, capsys), key=lambda each: "session" in each)
    assert "user_counts_15m, user_id user-7, bucket " in counts
    sums = pipeline.scalar("SELECT count() FROM sessions WHERE kafka_partition = 3")
    assert f"sessions is 0, the rows give {sums}" in sessions


def test_before_the_days_that_rows_are_kept_a_rollup_may_have_more_but_not_less(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    new = "toDateTime64('2020-01-01 00:01:00', 3, 'UTC') AS timestamp"
    break_it(
        pipeline,
        "INSERT INTO event_counts_15m (bucket, event, kafka_partition, events) "
        f"SELECT {OLD_BUCKET}, 'play', 0, 5",
    )
    # As long as the log has its beginning, every bucket can be counted again.
    (more,) = findings(pipeline, capsys)
    assert "event play: events is 5, the rows give 0" in more
    for partition in (0, 2):
        pipeline.delete_records(pipeline.topics.accepted, 1, partition=partition)
    assert findings(pipeline, capsys) == []
    lowest = pipeline.scalar("SELECT min(kafka_offset) FROM events WHERE kafka_partition = 2")
    where = f"kafka_partition = 2 AND kafka_offset = {lowest}"
    break_it(
        pipeline,
        f"INSERT INTO events SELECT * REPLACE({new}) FROM events WHERE {where}",
        f"ALTER TABLE event_counts_15m DELETE WHERE bucket = {OLD_BUCKET} {NOW}",
    )
    found = findings(pipeline, capsys)
    assert f"partition 2: events has twice 1 offset: {lowest}" in found
    (rollup,) = (each for each in found if "event_counts_15m" in each)
    assert "bucket 2020-01-01 00:00:00" in rollup
    assert "events is 0, the rows give 1" in rollup
