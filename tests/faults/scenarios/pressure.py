"""More than can be taken, and more than usual is kept."""

from __future__ import annotations

from tests.faults.load import Volume
from tests.faults.registry import scenario
from tests.faults.trial import Trial

_PADDING = 2_000
_TAKEN_PER_S = 100
_OPEN_PLAYS = 100_000


@scenario(volume=Volume(per_s=100, http=4, kafka=1), events=500)
def five_times_what_can_be_taken(trial: Trial) -> None:
    """Five times as many events come in over HTTP as Kafka takes of them: 503s, and no loss.

    The way from ingest to Kafka carries a hundred events a second; five hundred are tried.
    """
    trial.servers.ways["serve"].kafka.throttle(_TAKEN_PER_S * (_PADDING + 200))
    flood = trial.start_load(Volume(per_s=5 * _TAKEN_PER_S, http=1_500, kafka=0, padding=_PADDING))
    trial.sleep(30)
    flood.stop()
    flood.wait(60)
    statuses = dict(sorted(flood.statuses.items()))
    trial.figures["statuses"] = statuses
    if not statuses.get(503):
        trial.found(f"Nothing was answered with 503: {statuses}")


@scenario(volume=Volume(http=2, kafka=4, per_s=0, users=_OPEN_PLAYS, names=("play",)))
def a_restart_with_100_000_open_plays(trial: Trial) -> None:
    """A sessionizer that keeps 100,000 open plays is killed and begins again."""
    trial.wait_for_events(_OPEN_PLAYS, 120)
    trial.end_loads()
    trial.services["sessionizer"].kill()
    trial.sleep(1)
    trial.services["sessionizer"].wait_until_ready()
    stops = trial.start_load(Volume(users=_OPEN_PLAYS, names=("stop",), per_s=0))
    trial.wait_for_events(5_000)
    stops.stop()


@scenario(volume=Volume(days=200 * 30))
def timestamps_over_200_months(trial: Trial) -> None:
    """The timestamps of all events lie anywhere in 200 months."""
    trial.wait_for_events(3_000)
