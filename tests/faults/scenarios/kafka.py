"""Kafka killed, away, suspended, slow, and out of reach."""

from __future__ import annotations

from tests.faults.registry import scenario
from tests.faults.trial import Trial

_AWAY_S = 60


@scenario(short=True)
def kafka_is_killed(trial: Trial) -> None:
    """Kafka is killed under load and started again."""
    trial.sleep(0.5, 3)
    trial.servers.kill_kafka()
    trial.servers.start_kafka()


@scenario()
def kafka_is_killed_again_and_again(trial: Trial) -> None:
    """Kafka is killed under load and started again, three times."""
    for _ in range(3):
        trial.sleep(0.5, 4)
        trial.servers.kill_kafka()
        trial.servers.start_kafka()


@scenario()
def kafka_is_away(trial: Trial) -> None:
    """Kafka is away for a minute under load."""
    trial.servers.kill_kafka()
    trial.sleep(_AWAY_S)
    trial.servers.start_kafka()


@scenario()
def kafka_is_suspended(trial: Trial) -> None:
    """Kafka stands still for twelve seconds: connections stay, and nothing is answered."""
    trial.servers.pause_kafka()
    trial.sleep(12)
    trial.servers.resume_kafka()


@scenario()
def kafka_cannot_be_reached_by_one(trial: Trial) -> None:
    """Each service in turn loses its way to Kafka, and has it again."""
    for service in ("serve", "sessionizer", "writer"):
        way = trial.servers.ways[service].kafka
        way.cut()
        trial.sleep(3, 8)
        way.heal()


@scenario()
def kafka_is_a_black_hole_to_one(trial: Trial) -> None:
    """Nothing passes between each service in turn and Kafka, for longer than the session."""
    for service in ("serve", "sessionizer", "writer"):
        way = trial.servers.ways[service].kafka
        way.black_hole()
        trial.sleep(9)
        way.heal()
        trial.sleep(1)


@scenario()
def kafka_is_slow(trial: Trial) -> None:
    """Everything between the services and Kafka takes a fifth of a second longer, each way."""
    ways = [trial.servers.ways[service].kafka for service in ("serve", "sessionizer", "writer")]
    for way in ways:
        way.delay(0.2)
    trial.sleep(15)
