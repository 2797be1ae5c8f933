from __future__ import annotations

from collections import defaultdict

import pytest

from cli.demo.day import Day, Way
from cli.demo.weeks import DAYS, FIRST_DAY, USERS, WORD, make_spoiled, make_weeks
from contracts.events import Event, parse_event
from contracts.timestamps import DAY_MS


@pytest.fixture(scope="module")
def weeks() -> Day:
    return make_weeks()


def test_they_are_the_same_for_everybody(weeks: Day) -> None:
    assert make_weeks() == weeks
    assert len(weeks.sendings) == 17_098
    assert (weeks.ends_at - weeks.starts_at) // DAY_MS == DAYS


def test_they_are_whole_weeks_from_a_sunday() -> None:
    assert FIRST_DAY.isoweekday() == 7
    assert DAYS % 7 == 0


def test_every_user_comes_and_nobody_else(weeks: Day) -> None:
    users = {sending.user.user_id for sending in weeks.sendings}
    assert users == {user.user_id for user in weeks.users}
    assert len(users) == USERS
    assert all(user.startswith(WORD) for user in users)


def test_some_come_again_and_some_stay_away(weeks: Day) -> None:
    days: dict[str, set[int]] = defaultdict(set)
    for sending in weeks.sendings:
        days[sending.user.user_id].add((sending.timestamp - weeks.starts_at) // DAY_MS)
    assert any(len(each) == 1 for each in days.values())
    assert any(len(each) > 20 for each in days.values())
    gone = [each for each in days.values() if max(each) < DAYS - 14]
    assert 0.1 * USERS < len(gone) < 0.6 * USERS


def test_a_user_has_one_way_and_sends_in_order(weeks: Day) -> None:
    ways: dict[str, set[Way]] = defaultdict(set)
    last: dict[str, int] = defaultdict(int)
    for sending in weeks.sendings:
        user = sending.user.user_id
        ways[user].add(sending.user.way)
        assert sending.arrives_at >= last[user]
        last[user] = sending.arrives_at
    assert all(len(each) == 1 for each in ways.values())
    assert {way for each in ways.values() for way in each} == set(Way)


def test_what_is_sent_is_an_event_and_what_is_spoiled_is_none(weeks: Day) -> None:
    assert all(isinstance(parse_event(sending.body), Event) for sending in weeks.sendings)
    assert not any(isinstance(parse_event(each.value), Event) for each in make_spoiled())
    assert len({each.source for each in make_spoiled()}) == 3
