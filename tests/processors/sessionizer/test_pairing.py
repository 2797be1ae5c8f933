from typing import Any

import pytest
from msgspec import Raw

from contracts.sessions import session_id
from contracts.timestamps import parse_timestamp
from processors.sessionizer.pairing import (
    Dropped,
    OpenPlay,
    PairingRules,
    UserState,
    WaitingStop,
    apply_play,
    apply_stop,
)
from tests.vectors import cases, ids


def ms(text: str) -> int:
    at = parse_timestamp(text)
    assert at is not None
    return at


@pytest.mark.parametrize("case", cases("sessions"), ids=ids("sessions"))
def test_vectors(case: dict[str, Any]) -> None:
    rules = PairingRules(waiting_stop_ms=case.get("waiting_stop_ms", 600_000))
    users: dict[str, UserState] = {}
    found = []
    for offset, (name, user, timestamp, arrival, event_id) in enumerate(case["events"]):
        state, at, received_at = users.setdefault(user, UserState()), ms(timestamp), ms(arrival)
        pair = None
        if name == "play":
            play = OpenPlay(at, offset, received_at, event_id, Raw(b"{}"))
            pair = apply_play(state, play, rules, Dropped())
        elif name == "stop":
            stop = WaitingStop(at, offset, event_id)
            pair = apply_stop(state, stop, received_at, rules, Dropped())
        if pair is not None:
            found.append(
                [
                    user,
                    pair.started_at,
                    pair.ended_at,
                    (pair.ended_at - pair.started_at) / 1000,
                    pair.play_id,
                    pair.stop_id,
                    session_id(user, pair.play_id, pair.stop_id),
                ]
            )
    assert found == [
        [user, ms(start), ms(end), seconds, *rest]
        for user, start, end, seconds, *rest in case["sessions"]
    ]
