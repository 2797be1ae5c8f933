"""The page scripts in a real browser, on a page from another port than the service's.

Under load the page says everything in a row; in the tests with errors each user has one play and
one stop, and what becomes of the one becomes of the other. What is answered late is no test here:
a browser waits for an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.clients import (
    WRONG_KEY,
    Service,
    Told,
    modules,
    node_command,
    require_counted_once,
    run_program,
    wait_for_rows,
)
from tests.compat.events import Sent, pairs
from tests.compat.installed import browser
from tests.compat.pages import served_pages
from tests.compat.proxy import Fault, Plan, Proxy, faulty_proxy

PAIRS = 300
USERS = 6
RETRY_AFTER_S = 1.0
QUEUED_WITHIN_MS = 90_000
FAULTS: Mapping[str, tuple[Fault, ...]] = {
    "taken": (),
    "400": (Fault.INVALID,),
    "401": (Fault.UNKNOWN_KEY,),
    "413": (Fault.TOO_LARGE,),
    "429": (Fault.TOO_MANY,),
    "503": (Fault.AWAY,),
    "answer lost": (Fault.LOST,),
}
_BATCHING = {"deliveryStrategy": {"strategy": "batching", "config": {"size": 50, "timeout": 1000}}}
# A user's identify, play and stop are a batch, and the next user comes when that is through.
_BY_USER = {"deliveryStrategy": {"strategy": "batching", "config": {"size": 3, "timeout": 500}}}


@dataclass(frozen=True, slots=True)
class Script:
    """A page script.

    Attributes:
        name: of its package, with the version.
        page: the page that has it.
        load, errors: what the page is given under load, and through errors.
        requests: how many requests there are with an event, by what becomes of it.
        waits: where it waits the time of `Retry-After` at the least.
        linger_ms: how long it takes until all repetitions are through.
        names_failures: whether it tells the page which events have failed.
        is_by_user: whether what it says of a user comes as one batch, when it is given `errors`.
    """

    name: str
    page: str
    load: Mapping[str, Any]
    errors: Mapping[str, Any]
    requests: Mapping[str, int]
    waits: tuple[str, ...]
    linger_ms: int
    names_failures: bool = False
    is_by_user: bool = False


_ONCE = {"taken": 1, "400": 1, "401": 1, "413": 1}
SCRIPTS = (
    Script(
        "@segment/analytics-next 1.84.3",
        "segment.html",
        {"options": {}},
        {"options": {}},
        {**_ONCE, "429": 2, "503": 2, "answer lost": 2},
        ("429",),
        6_000,
        names_failures=True,
    ),
    Script(
        "@segment/analytics-next 1.84.3 in batches",
        "segment.html",
        {"options": _BATCHING},
        {"options": _BY_USER, "pause_ms": 2_500},
        {**_ONCE, "429": 2, "503": 2, "answer lost": 2},
        (),
        4_000,
        is_by_user=True,
    ),
    Script(
        "posthog-js 1.449.2",
        "posthog.html",
        {"alone": False},
        {"alone": True},
        # It repeats what failed on the server's side, and no 429.
        {**_ONCE, "429": 1, "503": 2, "answer lost": 2},
        (),
        12_000,
    ),
)
DROPPED = {2: ("400", "401", "413"), 1: ("400", "401", "413", "429")}  # by requests after a 429

every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.name)


@every_script
def test_what_a_page_says_is_counted_once(service: Service, script: Script) -> None:
    word = f"page of {script.name}"
    # All of a user in a row, as a person is.
    events = sorted(pairs(word, PAIRS, USERS), key=lambda each: (each["user"], each["at"]))
    with faulty_proxy(service.port) as proxy:
        told = open_page(script, proxy, service.key, events, script.load, linger_ms=6_000)
    assert told.more["said"] == []
    assert told.failed == {}
    assert {each.status for each in proxy.exchanges} <= {200, 204}
    origins = {each.headers.get("origin", "") for each in proxy.exchanges if each.ids}
    assert not origins & {"", proxy.url}, "no request from another origin"
    require_all_counted_once(service, word, proxy, events)


@every_script
def test_what_is_told_to_be_sent_is_counted_once(service: Service, script: Script) -> None:
    word = f"errors of {script.name}"
    # What overtakes its play waits for it where the play is of these minutes.
    begin = datetime.now(UTC) - timedelta(minutes=2)
    events = pairs(word, len(FAULTS), len(FAULTS), begin)
    names = [name for name in FAULTS for _ in ("play", "stop")]
    plan: Plan = {each["id"]: FAULTS[name] for each, name in zip(events, names, strict=True)}
    if script.is_by_user:
        plan = dict(enumerate(FAULTS.values()))
    with faulty_proxy(service.port, plan) as proxy:
        told = open_page(script, proxy, service.key, events, script.errors)
    asked = Counter(each for one in proxy.exchanges for each in one.ids)
    for each, name in zip(events, names, strict=True):
        assert asked[each["id"]] == script.requests[name], name
        if name in script.waits:
            first, second = (one.at for one in proxy.exchanges if each["id"] in one.ids)
            assert second - first >= RETRY_AFTER_S - 0.05, name
    dropped = DROPPED[script.requests["429"]]
    if script.names_failures:
        assert told.failed.keys() == ids_of(events, names, dropped)
    kept = [each for each in events if each["id"] not in ids_of(events, names, dropped)]
    require_all_counted_once(service, word, proxy, kept)


@every_script
def test_a_wrong_key_is_refused_once(service: Service, script: Script) -> None:
    word = f"wrong key of {script.name}"
    events = pairs(word, 1, 1)
    with faulty_proxy(service.port) as proxy:
        open_page(script, proxy, WRONG_KEY, events, script.errors, linger_ms=5_000)
    asked = [each for each in proxy.exchanges if each.ids]
    assert {each.status for each in asked} == {401}
    assert len({each.ids for each in asked}) == len(asked)
    require_counted_once(service, word, [])


def open_page(
    script: Script,
    proxy: Proxy,
    key: str,
    events: Sequence[Sent],
    more: Mapping[str, Any],
    linger_ms: int = 0,
) -> Told:
    """Open the script's page with these events, and return what it has told."""
    given = {"url": proxy.url, "key": key, "events": events, **more}
    with served_pages(given) as base:
        return run_program(
            node_command("browser.mjs"),
            {
                "modules": modules(),
                "browser": browser(),
                "page": f"{base}/{script.page}",
                "within_ms": QUEUED_WITHIN_MS,
                "linger_ms": linger_ms or script.linger_ms,
            },
        )


def ids_of(events: Sequence[Sent], names: Sequence[str], wanted: Sequence[str]) -> set[str]:
    return {each["id"] for each, name in zip(events, names, strict=True) if name in wanted}


def require_all_counted_once(
    service: Service, word: str, proxy: Proxy, events: Sequence[Sent]
) -> None:
    """Require these events, and what the script has said of the users of its own accord."""
    taken = {each for one in proxy.exchanges if one.taken for each in one.ids}
    own = {each["id"] for each in events}
    assert own <= taken
    rows = {row.id for row in wait_for_rows(service, word, len(own))}
    require_counted_once(service, word, events, also=rows & (taken - own))
