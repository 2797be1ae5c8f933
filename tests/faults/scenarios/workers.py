"""Workers that join, leave, and are suspended: partitions go to and fro under load."""

from __future__ import annotations

import time

from contracts.tables import DEDUPLICATED, deduplication_window
from tests.faults.proxy import Insert
from tests.faults.registry import Play, scenario
from tests.faults.trial import SESSION_TIMEOUT_MS, Trial

_LONGER_S = SESSION_TIMEOUT_MS / 1000 + 3
# Behind the check it is ClickHouse that keeps a late insert out: it closes what is silent.
_AFTER_CHECK = "after_check"
_SELECT_KEEP_ALIVE = "SELECT getServerSetting('keep_alive_timeout')"


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


def _pause_past_the_window(failpoint: str) -> Play:
    """Return the play in which a writer sleeps with an insert to make, and its token is forgotten.

    The tables remember a single token until the successor has inserted more of each partition.
    """

    def play(trial: Trial) -> None:
        writer = trial.services["writer"]
        writer.pause_at(f"{failpoint}:{trial.random.randint(3, 9)}")
        trial.wait_for(writer.is_paused, f"the writer stands still at {failpoint}", 60)
        asleep_since = time.monotonic()
        trial.add_service("writer-2").wait_until_ready()
        _remember(trial, 1)
        trial.wait_for_more_rows(1_000)
        _remember(
            trial,
            deduplication_window(trial.settings.partitions, trial.settings.inserts_per_second),
        )
        if failpoint == _AFTER_CHECK:
            silent_s = float(trial.clickhouse.command(_SELECT_KEEP_ALIVE)) + 5
            trial.sleep(max(0.0, asleep_since + silent_s - time.monotonic()))
        writer.resume()
        trial.wait_for_events(300)

    return play


for _point in ("after_intent", "before_send", _AFTER_CHECK):
    scenario(
        f"a_writer_is_paused_past_the_window_{_point}",
        about=f"A writer sleeps at `{_point}` until its token is forgotten; another took over.",
    )(_pause_past_the_window(_point))


@scenario()
def a_sessionizer_is_paused_with_its_commit_pending(trial: Trial) -> None:
    """A sessionizer stands still in a transaction with offsets in it; another takes over."""
    sessionizer = trial.services["sessionizer"]
    sessionizer.pause_at("sessionizer.after_hint:3")
    trial.wait_for(sessionizer.is_paused, "the sessionizer stands still in a transaction", 60)
    trial.add_service("sessionizer-2").wait_until_ready()
    trial.wait_for_more_rows(1_000)
    sessionizer.resume()
    trial.wait_for_events(300)


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


def _remember(trial: Trial, tokens: int) -> None:
    """Let every table remember so many deduplication tokens, and forget the others."""
    for table in DEDUPLICATED:
        setting = f"non_replicated_deduplication_window = {tokens}"
        trial.clickhouse.command(f"ALTER TABLE {table} MODIFY SETTING {setting}")
