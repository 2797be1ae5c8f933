from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from cli.demo.day import Day, Sending, Way, make_day
from contracts.events import Event, parse_event
from contracts.timestamps import parse_timestamp

ENDS_AT = 1_763_990_000_000
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def day() -> Day:
    return make_day(seed=1, users=1_000, events=20_000, ends_at=ENDS_AT, word="demo-1")


def test_the_same_seed_gives_the_same_day(day: Day) -> None:
    again = make_day(seed=1, users=1_000, events=20_000, ends_at=ENDS_AT, word="demo-1")
    assert again == day


def test_another_seed_gives_another_day(day: Day) -> None:
    other = make_day(seed=2, users=1_000, events=20_000, ends_at=ENDS_AT, word="demo-1")
    assert other.sendings != day.sendings


def test_there_are_as_many_sendings_and_users_as_asked_for(day: Day) -> None:
    assert len(day.sendings) == 20_000
    assert len({sending.user.user_id for sending in day.sendings}) == 1_000


@pytest.mark.parametrize(("users", "events"), [(1, 1), (3, 3), (1, 500), (7, 20)])
def test_small_days_have_the_numbers_asked_for_too(users: int, events: int) -> None:
    small = make_day(seed=5, users=users, events=events, ends_at=ENDS_AT, word="w")
    assert len(small.sendings) == events
    assert len({sending.user.user_id for sending in small.sendings}) == users


def test_more_users_than_events_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be shared"):
        make_day(seed=1, users=3, events=2, ends_at=ENDS_AT, word="w")


def test_nothing_lies_outside_the_day(day: Day) -> None:
    assert all(day.starts_at <= each.timestamp <= day.ends_at for each in day.sendings)
    assert max(each.timestamp for each in day.sendings) > day.ends_at - 5 * MINUTE_MS


def test_every_body_is_a_valid_event_of_its_user(day: Day) -> None:
    for sending in day.sendings:
        event = parse_event(sending.body)
        assert isinstance(event, Event)
        assert event.user_id == sending.user.user_id
        assert event.event == sending.event
        assert parse_timestamp(event.timestamp or "") == sending.timestamp


def test_they_are_in_order_of_arrival(day: Day) -> None:
    arrivals = [sending.arrives_at for sending in day.sendings]
    assert arrivals == sorted(arrivals)


def test_a_tenth_goes_by_kafka_and_each_user_by_one_way(day: Day) -> None:
    ways = Counter(sending.user.way for sending in day.sendings)
    assert ways[Way.KAFKA] == pytest.approx(2_000, rel=0.05)
    by_user = defaultdict(set)
    for sending in day.sendings:
        by_user[sending.user.user_id].add(sending.user.way)
    assert all(len(ways_of_user) == 1 for ways_of_user in by_user.values())


def test_every_id_begins_with_the_word_and_some_are_beyond_ascii(day: Day) -> None:
    assert all(user.user_id.startswith("demo-1-") for user in day.users)
    assert any(not user.user_id.isascii() for user in day.users)


def test_repeated_sendings_have_the_same_body_and_an_id(day: Day) -> None:
    repeated = [sending for sending in day.sendings if sending.repeated]
    assert len(repeated) > 200
    seen: set[bytes] = set()
    for sending in day.sendings:
        assert (sending.body in seen and b'"event_id"' in sending.body) or not sending.repeated
        seen.add(sending.body)


def test_unrepeated_sendings_are_different_events(day: Day) -> None:
    ids = [
        (sending.user.user_id, json.loads(sending.body).get("event_id"))
        for sending in day.sendings
        if not sending.repeated
    ]
    with_ids = [each for each in ids if each[1] is not None]
    assert len(set(with_ids)) == len(with_ids)
    assert 0 < len(with_ids) < len(ids)


def test_the_wanted_features_are_there_in_number(day: Day) -> None:
    events = Counter(sending.event for sending in day.sendings)
    assert {"play", "stop", "pause", "seek", "like"} <= events.keys()
    assert events["play"] > 5 * len(day.users)
    assert events["play"] - events["stop"] > 500, "plays without a stop"
    assert sum(each.arrives_at - each.timestamp > 10 * MINUTE_MS for each in day.sendings) > 500


def test_some_users_play_on_two_devices_at_once(day: Day) -> None:
    overlapping = sum(_has_nested_plays(plays) for plays in _plays_and_stops(day).values())
    assert overlapping > 100


def test_some_stops_overtake_their_play(day: Day) -> None:
    stops: dict[tuple[str, str], int] = {}
    overtaken = 0
    for sending in day.sendings:
        key = sending.user.user_id, json.dumps(json.loads(sending.body)["metadata"])
        if sending.event == "stop":
            stops[key] = sending.timestamp
        elif sending.event == "play" and stops.get(key, 0) > sending.timestamp:
            overtaken += sending.arrives_at - sending.timestamp <= 10 * MINUTE_MS
    assert overtaken >= 5


def test_some_songs_follow_at_the_very_instant(day: Day) -> None:
    stops = {(each.user.user_id, each.timestamp) for each in day.sendings if each.event == "stop"}
    plays = {(each.user.user_id, each.timestamp) for each in day.sendings if each.event == "play"}
    assert len(stops & plays) > 1_000


def test_a_device_sends_in_order(day: Day) -> None:
    """A stop and the next play of one instant must not be exchanged on the way."""
    exchanged = 0
    for sendings in _plays_and_stops(day).values():
        for one, other in pairwise(sendings):
            exchanged += (
                one.event == "play" and other.event == "stop" and (one.timestamp == other.timestamp)
            )
    assert exchanged == 0


def _plays_and_stops(day: Day) -> dict[str, list[Sending]]:
    by_user: dict[str, list[Sending]] = defaultdict(list)
    for sending in day.sendings:
        if sending.event in ("play", "stop") and not sending.repeated:
            by_user[sending.user.user_id].append(sending)
    return by_user


def _has_nested_plays(sendings: list[Sending]) -> bool:
    """Tell whether two songs play, on two devices, between one play and the next stop."""
    devices: set[str] = set()
    for sending in sorted(sendings, key=lambda each: each.timestamp):
        device = json.loads(sending.body)["metadata"]["device"]
        if sending.event == "play":
            devices.add(device)
            if len(devices) > 1:
                return True
        else:
            devices.discard(device)
    return False
