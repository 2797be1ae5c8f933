"""Workers that join, leave, and are suspended: partitions go to and fro under load."""

from __future__ import annotations

from tests.faults.proxy import Insert
from tests.faults.registry import scenario
from tests.faults.trial import SESSION_TIMEOUT_MS, Trial

_LONGER_S = SESSION_TIMEOUT_MS / 1000 + 3


@scenario()
def workers_join_and_leave(trial: Trial) -> None:
    """A second sessionizer and a second writer come and go, three times, once by a kill."""
    others = [trial.add_service("sessionizer-2"), trial.add_service("writer-2")]
    for turn in range(3):
        for other in others:
            other.wait_until_ready()
        trial.sleep(1, 3)
        for other in others:
            if turn == 1:
                other.kill()
            other.stop()
        trial.sleep(1, 2)
        for other in others:
            other.start()


@scenario()
def a_sessionizer_is_paused(trial: Trial) -> None:
    """A sessionizer is suspended for longer than its session; another takes over; it wakes up."""
    _pause(trial, "sessionizer")


@scenario()
def a_writer_is_paused(trial: Trial) -> None:
    """A writer is suspended for longer than its session; another takes over; it wakes up."""
    _pause(trial, "writer")


@scenario()
def a_writer_is_paused_during_an_insert(trial: Trial) -> None:
    """A writer is suspended with inserts on their way; they arrive when another owns the partition.

    The inserts wait in its proxy until the other writer has inserted the same ranges.
    """
    way = trial.servers.ways["writer"].clickhouse
    way.black_hole()
    trial.sleep(1)
    trial.services["writer"].pause()
    other = trial.add_service("writer-2")
    other.wait_until_ready()
    trial.wait_for_events(500)
    way.heal()
    trial.sleep(1)
    trial.services["writer"].resume()
    trial.sleep(1, 3)


@scenario()
def a_paused_writer_has_its_answer_lost(trial: Trial) -> None:
    """A writer does not learn that its insert was done, and is suspended; another takes over."""
    trial.lose_answers(trial.servers.ways["writer"].clickhouse, Insert)
    _pause(trial, "writer")


@scenario()
def the_only_workers_are_paused(trial: Trial) -> None:
    """Both processors are suspended for longer than their session, and nobody takes over."""
    processors = [trial.services["sessionizer"], trial.services["writer"]]
    for each in processors:
        each.pause()
    trial.sleep(_LONGER_S)
    for each in processors:
        each.resume()


def _pause(trial: Trial, name: str) -> None:
    paused = trial.services[name]
    paused.pause()
    other = trial.add_service(f"{name}-2")
    trial.sleep(_LONGER_S)
    other.wait_until_ready()
    paused.resume()
    trial.wait_for_events(300)
