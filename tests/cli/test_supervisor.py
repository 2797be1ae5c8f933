"""The supervisor's policies: when to restart, and when a wish to end means at once."""

from __future__ import annotations

from cli.supervisor import Backoff, StopRequests


def test_waits_double_from_half_a_second_to_half_a_minute() -> None:
    backoff = Backoff()
    waits = [backoff.delay_after(1.0) for _ in range(8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_run_of_a_minute_begins_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_after(1.0)
    assert backoff.delay_after(60.0) == 0.5


def test_signals_within_a_second_are_one_wish() -> None:
    requests = StopRequests()
    requests.note(100.0)
    requests.note(100.9)
    assert requests.asked
    assert not requests.at_once


def test_a_later_signal_means_at_once() -> None:
    requests = StopRequests()
    requests.note(100.0)
    requests.note(101.1)
    assert requests.at_once
