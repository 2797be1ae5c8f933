"""The libraries for servers under load and through errors: what they are told is sent is there.

Each sends a few thousand events in batches of a hundred; `PLANNED` says what becomes of the first
batches. A batch is repeated where the library is told to come again or gets no answer, and never
where it was refused; it is counted once, however often it came.
"""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from typing import Any

import pytest

from runtime.clickhouse import connect_sync
from tests.compat.clients import (
    WRONG_KEY,
    Service,
    modules,
    require_counted_once,
    run_program,
    wait_for_rows,
)
from tests.compat.events import Sent, pairs
from tests.compat.installed import python_with
from tests.compat.libraries import BATCH, LIBRARIES, PLANNED, RETRIES, TIMEOUT_S, Library
from tests.compat.proxy import Plan, Proxy, faulty_proxy

PAIRS = 1_500
USERS = 12
LATE_S = 4.0
BEGIN_S = 1.5
RETRY_AFTER_S = 1.0

# Calls beside `track`: what they are given, and what is then the metadata.
CALLS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("identify", {"traits": {"plan": "pro"}}, {"plan": "pro"}),
    (
        "page",
        {"name": "Home", "category": "Docs", "properties": {"x": 1}},
        {"name": "Home", "category": "Docs", "x": 1},
    ),
    ("screen", {"name": "Home", "properties": {"x": 1}}, {"name": "Home", "x": 1}),
    ("group", {"group_id": "g", "traits": {"seats": 3}}, {"groupId": "g", "seats": 3}),
    ("alias", {"previous_id": "p"}, {"previousId": "p"}),
)
_PYTHON: dict[str, str] = {}
_NODE = {"user_id": "userId", "group_id": "groupId", "previous_id": "previousId"}
_SELECT_METADATA = "SELECT event, toString(metadata) FROM events WHERE user_id = {user:String}"

every_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda each: each.name)


@every_library
def test_what_is_told_to_be_sent_is_counted_once(service: Service, library: Library) -> None:
    word = f"load of {library.name}"
    events = pairs(word, PAIRS, USERS)
    plan: Plan = dict(enumerate(PLANNED.values()))
    with faulty_proxy(service.port, plan, late_s=LATE_S, begin_s=BEGIN_S) as proxy:
        told = run_program(library.command(), given(library, proxy, service.key, events))

    ids = {name: ids_of(proxy, number) for number, name in enumerate(PLANNED)}
    requests = {name: len(proxy.of_batch(number)) for number, name in enumerate(PLANNED)}
    assert requests == dict(library.requests)
    assert {name for name in PLANNED if has_waited(proxy, name)} >= set(library.waits)
    sent = {each for one in proxy.exchanges for each in one.ids}
    assert sent == {each["id"] for each in events}
    dropped = set[str]().union(*(ids[name] for name in library.drops))
    assert sent - {each for one in proxy.exchanges if one.taken for each in one.ids} == dropped
    if library.names_failures:
        assert told.failed.keys() == dropped | ids["answer lost thrice"], told.failed
    require_counted_once(service, word, (each for each in events if each["id"] not in dropped))


@every_library
def test_a_wrong_key_is_refused_once(service: Service, library: Library) -> None:
    word = f"wrong key of {library.name}"
    events = pairs(word, BATCH // 2, 1)
    with faulty_proxy(service.port) as proxy:
        told = run_program(library.command(), given(library, proxy, WRONG_KEY, events))
    assert [each.status for each in proxy.exchanges if each.ids] == [401]
    if library.names_failures:
        assert told.failed.keys() == {each["id"] for each in events}
    require_counted_once(service, word, [])


@every_library
def test_the_key_is_shown_where_it_is_said_to_be(service: Service, library: Library) -> None:
    word = f"key of {library.name}"
    events = pairs(word, 1, 1)
    with faulty_proxy(service.port) as proxy:
        run_program(library.command(), given(library, proxy, service.key, events))
    shown = ["authorization" in each.headers for each in proxy.exchanges if each.ids]
    assert shown == [library.shows_key_in_header]
    require_counted_once(service, word, events)


@pytest.mark.parametrize(
    ("library", "names"),
    [
        *((each, _PYTHON) for each in LIBRARIES if "-python" in each.name),
        *((each, _NODE) for each in LIBRARIES if "analytics-node" in each.name),
    ],
    ids=lambda each: each.name if isinstance(each, Library) else "",
)
def test_every_call_is_an_event_of_its_name(
    service: Service, library: Library, names: dict[str, str]
) -> None:
    user = f"calls of {library.name}"
    calls = [
        (call, {names.get(name, name): value for name, value in {**what, "user_id": user}.items()})
        for call, what, _ in CALLS
    ]
    with faulty_proxy(service.port) as proxy:
        told = run_program(
            library.command(), {**given(library, proxy, service.key, []), "calls": calls}
        )
    assert told.failed == {}
    wait_for_rows(service, user, len(CALLS))
    client = connect_sync(service.settings)
    try:
        rows = client.query(_SELECT_METADATA, {"user": user}).result_rows
    finally:
        client.close()
    assert {event: json.loads(metadata) for event, metadata in rows} == {
        call: metadata for call, _, metadata in CALLS
    }


def test_posthog_is_told_that_there_are_no_flags(service: Service) -> None:
    program = (
        "import posthog, sys; client = posthog.Posthog(sys.argv[1], host=sys.argv[2], timeout=10);"
        "print(client.get_all_flags('ada'))"
    )
    done = subprocess.run(
        [python_with("posthog"), "-c", program, service.key, service.http],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "{}\n"
    assert done.stderr == ""


def given(library: Library, proxy: Proxy, key: str, events: list[Sent]) -> dict[str, Any]:
    """Return what the library's program is given."""
    return {
        "url": proxy.url,
        "key": key,
        "events": events,
        "retries": RETRIES,
        "timeout_s": TIMEOUT_S,
        "modules": modules(),
        "calls": [],
        **library.options,
    }


def ids_of(proxy: Proxy, number: int) -> set[str]:
    return {each for one in proxy.of_batch(number) for each in one.ids}


def has_waited(proxy: Proxy, name: str) -> bool:
    """Tell whether all requests with a batch came a second or more after the one before."""
    times = [each.at for each in proxy.of_batch(list(PLANNED).index(name))]
    return all(later - earlier >= RETRY_AFTER_S - 0.05 for earlier, later in pairwise(times))
