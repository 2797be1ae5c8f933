"""Kills: all services at once, each again and again, and restarts in order."""

from __future__ import annotations

from tests.faults.registry import scenario
from tests.faults.trial import Trial


@scenario()
def nothing_goes_wrong(trial: Trial) -> None:
    """Nothing goes wrong: the suite itself loses and doubles nothing."""


@scenario(short=True)
def all_killed_at_once(trial: Trial) -> None:
    """Every service is killed at the same moment."""
    trial.sleep(1, 3)
    for service in trial.services.all():
        service.kill()
    for service in trial.services.all():
        service.wait_until_ready()


@scenario()
def killed_again_and_again(trial: Trial) -> None:
    """Twenty kills, of whichever service, a second or so apart, some before it has begun."""
    for _ in range(20):
        trial.sleep(0.3, 2)
        trial.random.choice(trial.services.all()).kill()


@scenario()
def rolling_restarts(trial: Trial) -> None:
    """Each service is asked to end, and started again, one after the other."""
    for service in trial.services.all():
        ended = len(service.ends)
        service.terminate()
        service.wait_for_end(ended)
        service.wait_until_ready()
        trial.sleep(0.5, 2)
