"""CloudEvents over HTTP, as the library for Python writes them, under load and through errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.clients import PROGRAMS, WRONG_KEY, Service, require_counted_once, run_program
from tests.compat.events import Sent, pairs
from tests.compat.installed import python_with
from tests.compat.libraries import BATCH, PLANNED, RETRIES, TIMEOUT_S, USUAL_DROPS, USUAL_REQUESTS
from tests.compat.proxy import Plan, Proxy, faulty_proxy

USERS = 12
LATE_S = 4.0
PAIRS = {"batch": 1_500, "structured": 150, "binary": 150}


def given(proxy: Proxy, key: str, mode: str, events: list[Sent]) -> dict[str, Any]:
    return {
        "url": proxy.url,
        "key": key,
        "mode": mode,
        "events": events,
        "batch": BATCH,
        "retries": RETRIES,
        "timeout_s": TIMEOUT_S,
    }


def command() -> list[str]:
    return [python_with("kafka"), str(PROGRAMS / "cloudevents_http.py")]


@pytest.mark.parametrize("mode", PAIRS)
def test_what_is_told_to_be_sent_is_counted_once(service: Service, mode: str) -> None:
    word = f"cloudevents as {mode}"
    events = pairs(word, PAIRS[mode], USERS)
    size = BATCH if mode == "batch" else 1
    # Of a single event's fault the other one of its pair has a share, so that no pair is broken.
    plan: Plan = {
        events[place]["id"]: faults
        for number, faults in enumerate(PLANNED.values())
        for place in ((number * size,) if size > 1 else (2 * number, 2 * number + 1))
    }
    with faulty_proxy(service.port, plan, late_s=LATE_S) as proxy:
        told = run_program(command(), given(proxy, service.key, mode, events))

    def ids_of(name: str) -> set[str]:
        number = list(PLANNED).index(name)
        first = number * max(size, 2)
        return {each["id"] for each in events[first : first + max(size, 2)]}

    for name, count in USUAL_REQUESTS.items():
        asked = [each.ids[0] for each in proxy.exchanges if each.ids[0] in ids_of(name)]
        assert {asked.count(each) for each in asked} == {count}, name
    dropped = set[str]().union(*(ids_of(name) for name in USUAL_DROPS))
    assert told.failed.keys() == dropped | ids_of("answer lost thrice")
    require_counted_once(service, word, (each for each in events if each["id"] not in dropped))


def test_a_wrong_key_is_refused_once(service: Service) -> None:
    word = "cloudevents with a wrong key"
    events = pairs(word, 1, 1)
    with faulty_proxy(service.port) as proxy:
        told = run_program(command(), given(proxy, WRONG_KEY, "batch", events))
    assert [each.status for each in proxy.exchanges] == [401]
    assert told.failed.keys() == {each["id"] for each in events}
    require_counted_once(service, word, [])
