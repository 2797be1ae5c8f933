"""Answers that are lost: the server has done what it was asked, and nobody is told."""

from __future__ import annotations

from tests.faults.proxy import Insert, Request
from tests.faults.registry import scenario
from tests.faults.trial import Trial


@scenario(short=True)
def answers_are_lost(trial: Trial) -> None:
    """The answers of inserts, produces, transactions and commits are lost, one after the other."""
    ways = trial.servers.ways
    trial.lose_answers(ways["serve"].kafka, Request.PRODUCE, 2)
    trial.lose_answers(ways["writer"].clickhouse, Insert, 2)
    trial.lose_answers(ways["sessionizer"].kafka, Request.PRODUCE, 2)
    trial.lose_answers(ways["sessionizer"].kafka, Request.END_TXN)
    trial.lose_answers(ways["writer"].kafka, Request.OFFSET_COMMIT)


@scenario()
def the_answer_of_a_produce_is_lost(trial: Trial) -> None:
    """Kafka has taken a batch, and its sender does not learn it: ingest, then the sessionizer."""
    for service in ("serve", "sessionizer", "outside"):
        trial.lose_answers(trial.servers.ways[service].kafka, Request.PRODUCE, 3)


@scenario()
def the_answer_of_a_transaction_is_lost(trial: Trial) -> None:
    """Kafka has committed a transaction, and the sessionizer does not learn it."""
    for _ in range(3):
        trial.lose_answers(trial.servers.ways["sessionizer"].kafka, Request.END_TXN, 1)
        trial.services["sessionizer"].wait_until_ready()


@scenario()
def the_answer_of_a_commit_is_lost(trial: Trial) -> None:
    """Kafka has the writer's offsets and intents, and the writer does not learn it."""
    trial.lose_answers(trial.servers.ways["writer"].kafka, Request.OFFSET_COMMIT, 5)


@scenario()
def the_answer_to_a_new_producer_is_lost(trial: Trial) -> None:
    """A sessionizer that begins has fenced its predecessor, and does not learn it."""
    trial.services["sessionizer"].kill()
    trial.lose_answers(trial.servers.ways["sessionizer"].kafka, Request.INIT_PRODUCER_ID, 2)


@scenario()
def the_answer_of_an_insert_is_lost(trial: Trial) -> None:
    """ClickHouse has taken a block, and the writer does not learn it, five times."""
    trial.lose_answers(trial.servers.ways["writer"].clickhouse, Insert, 5)


@scenario()
def the_answer_is_lost_and_the_writer_killed(trial: Trial) -> None:
    """ClickHouse has taken a block; the writer does not learn it and is killed, three times."""
    way = trial.servers.ways["writer"].clickhouse
    for _ in range(3):
        trial.lose_answers(way, Insert)
        trial.services["writer"].kill()
        trial.services["writer"].wait_until_ready()
