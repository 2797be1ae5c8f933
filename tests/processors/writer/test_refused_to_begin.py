"""What the writer says, and does not do, where tables, log and offsets cannot belong together."""

from __future__ import annotations

import pytest

from tests.processors.writer.pipeline import Pipeline


@pytest.fixture
def filled(pipeline: Pipeline) -> Pipeline:
    """Topics whose rows are in the tables."""
    pipeline.produce(300)
    pipeline.run_until_done()
    return pipeline


def test_a_new_group_with_tables_that_have_rows(pipeline: Pipeline) -> None:
    pipeline.clickhouse.command(
        "INSERT INTO events (received_at, kafka_partition, kafka_offset) SELECT now64(3), 0, 5"
    )
    said = pipeline.refusal()
    assert "the group of the writer has no offset, but" in said
    assert "track repair" in said
    assert pipeline.scalar("SELECT count() FROM events") == 1


def test_offsets_reset_to_the_beginning(filled: Pipeline) -> None:
    filled.set_offset(filled.topics.accepted, 0)
    said = filled.refusal()
    assert "offsets were reset" in said
    assert "track repair" in said
    filled.assert_tables_equal_log()


def test_offsets_reset_to_the_end(filled: Pipeline) -> None:
    filled.produce(60)
    last = max(offset for partition, offset in filled.read(filled.topics.accepted) if not partition)
    filled.set_offset(filled.topics.accepted, last + 1)
    said = filled.refusal()
    assert "the log holds records between" in said
    assert "track repair" in said


def test_an_offset_beyond_the_log_s_end(filled: Pipeline) -> None:
    filled.set_offset(filled.topics.sessions, 10_000)
    said = filled.refusal()
    assert "not the log that was read before" in said


def test_an_offset_before_the_log_s_beginning(filled: Pipeline) -> None:
    filled.set_offset(filled.topics.accepted, 3)
    filled.delete_records(filled.topics.accepted, 9)
    said = filled.refusal()
    assert "Kafka no longer has what lies between" in said


def test_an_offset_that_another_program_committed(filled: Pipeline) -> None:
    filled.set_offset(filled.topics.accepted, 3, "mine")
    said = filled.refusal()
    assert "another program commits" in said
    assert "track repair" in said


def test_a_base_table_that_lost_its_last_rows(filled: Pipeline) -> None:
    last = filled.scalar("SELECT max(kafka_offset) FROM sessions WHERE kafka_partition = 3")
    filled.clickhouse.command(
        f"ALTER TABLE sessions DELETE WHERE kafka_partition = 3 AND kafka_offset = {last}",
        settings={"mutations_sync": 1},
    )
    said = filled.refusal()
    assert "the log holds records between" in said
    assert "track repair" in said


def test_clickhouse_of_another_log(filled: Pipeline) -> None:
    filled.clickhouse.command("TRUNCATE TABLE log")
    filled.clickhouse.command(
        "INSERT INTO log (id, opens, closes, partitions) VALUES ('f00', 'play', 'stop', 4)"
    )
    said = filled.refusal()
    assert "made anew" in said


def test_a_clickhouse_that_does_not_let_the_writer_in(filled: Pipeline) -> None:
    server = filled.settings.clickhouse.rpartition("@")[2]
    said = filled.refusal(TRACK_CLICKHOUSE=f"http://track:wrong-word@{server}")
    assert "Check the user in TRACK_CLICKHOUSE" in said
    assert "wrong-word" not in said
    assert "Traceback" not in said
