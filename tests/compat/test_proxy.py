"""The proxy: what it answers is what the service would, and what it loses the service has."""

from __future__ import annotations

import httpx
import pytest

from tests.compat.clients import WRONG_KEY, Service, require_counted_once
from tests.compat.events import Sent, pairs
from tests.compat.proxy import Fault, faulty_proxy

REFUSALS = (Fault.INVALID, Fault.UNKNOWN_KEY, Fault.TOO_LARGE, Fault.TOO_MANY, Fault.AWAY)


def batch(events: list[Sent]) -> dict[str, object]:
    return {
        "batch": [
            {
                "event": each["event"],
                "user_id": each["user"],
                "timestamp": each["at"],
                "event_id": each["id"],
                "metadata": {"n": each["n"]},
            }
            for each in events
        ]
    }


def test_what_it_answers_is_what_the_service_would(service: Service) -> None:
    wrong = {"authorization": f"Bearer {WRONG_KEY}"}
    body = batch(pairs("never taken", 1, 1))
    real = httpx.post(f"{service.http}/track/batch", json=body, headers=wrong)
    with faulty_proxy(service.port, {0: REFUSALS}) as proxy:
        answers = [httpx.post(f"{proxy.url}/track/batch", json=body) for _ in REFUSALS]
        passed_on = httpx.post(f"{proxy.url}/track/batch", json=body, headers=wrong)
    assert [each.status_code for each in answers] == [each.value for each in REFUSALS]
    told = answers[REFUSALS.index(Fault.UNKNOWN_KEY)]
    assert told.content == real.content == passed_on.content
    ours = {name: value for name, value in real.headers.items() if name in told.headers}
    assert dict(told.headers) == ours
    for each in answers[-2:]:
        assert int(each.headers["retry-after"]) > 0
    assert not any(each.taken for each in proxy.exchanges)


@pytest.mark.parametrize(("fault", "late_s"), [(Fault.LOST, 0.0), (Fault.LATE, 2.0)])
def test_what_it_loses_the_service_has(service: Service, fault: Fault, late_s: float) -> None:
    word = f"proxy {fault.name}"
    events = pairs(word, 5, 1)
    key = {"authorization": f"Bearer {service.key}"}
    with faulty_proxy(service.port, {0: (fault,)}, late_s=late_s) as proxy:
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{proxy.url}/track/batch", json=batch(events), headers=key, timeout=1)
        again = httpx.post(f"{proxy.url}/track/batch", json=batch(events), headers=key)
    assert again.json()["accepted"] == len(events)
    assert [each.taken for each in proxy.exchanges] == [True, True]
    require_counted_once(service, word, events)
