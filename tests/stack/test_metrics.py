"""Every process of a running stack answers Prometheus, with the names of docs/metrics.md."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from cli.metrics_ports import TARGETS
from contracts.metrics import BY_NAME, METRICS, PROCESS_METRICS, Kind, Service, metrics_of
from tests.running_stack import RunningStack

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
COUNTED_WITHIN_S = 30.0
RETENTION_S = 4 * 7 * 86_400  # of the four topics that are watched, together

Told = Mapping[str, list[Sample]]


def service_of(program: str) -> Service:
    kind = program.partition("-")[0]
    return Service.SERVE if kind == "http" else Service(kind)


def scrape(stack: RunningStack) -> dict[str, Told]:
    """Return what each program tells: samples by family, as the library's parser reads them."""
    told: dict[str, Told] = {}
    for target in json.loads((stack.home / TARGETS).read_text()):
        text = httpx.get(f"http://{target['targets'][0]}/metrics", timeout=10).text
        families: dict[str, list[Sample]] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                families[line.split()[2]] = []
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            families[name] = list(family.samples)
        told[target["labels"]["program"]] = families
    return told


@pytest.fixture(scope="module")
def before(stack: RunningStack) -> dict[str, Told]:
    """What is told before this module's traffic."""
    return scrape(stack)


@pytest.fixture(scope="module")
def told(stack: RunningStack, before: dict[str, Told]) -> dict[str, Told]:
    """What is told after some traffic of each kind has gone all the way."""
    assert before
    with httpx.Client(base_url=stack.http, timeout=10) as client:
        for number in range(5):
            for name in ("play", "stop", "pause"):
                sent = {"event": name, "user_id": f"metrics-{number}", "event_id": f"{name}-1"}
                assert client.post("/track", json=sent).status_code == 200
        again = {"event": "play", "user_id": "metrics-0", "event_id": "play-1"}
        assert client.post("/track", json=again).status_code == 200
        assert client.post("/track", content=b"nonsense").status_code == 400
        assert client.post("/elsewhere", json={}).status_code == 404
        for path in ("/metrics", "/sessions"):
            dates = {"start_date": "2025-01-01", "end_date": "2025-01-01"}
            assert client.get(path, params=dates).status_code == 200
    deadline = time.monotonic() + COUNTED_WITHIN_S
    while True:
        told = scrape(stack)
        duplicates = value_of(told, "track_records_total", outcome="duplicate")
        accepted = value_of(told, "track_records_total", outcome="accepted")
        stored = value_of(told, "track_insert_rows_sum", table="events")
        refused = value_of(told, "track_refused_rows_total", table="events")
        lag = value_of(told, "track_lag_offsets")
        watched = value_of(told, "track_retention_seconds") >= RETENTION_S
        if duplicates and accepted >= 15 and accepted == stored + refused and lag == 0 and watched:
            return told
        assert time.monotonic() < deadline, (duplicates, accepted, stored, refused, lag)
        time.sleep(0.3)


def value_of(told: Mapping[str, Told], series: str, **labels: str) -> float:
    """Return the sum of a series over all programs and all labels but those given."""
    return sum(
        sample.value
        for families in told.values()
        for samples in families.values()
        for sample in samples
        if sample.name == series and labels.items() <= sample.labels.items()
    )


def test_each_program_tells_what_its_service_has(told: Mapping[str, Told]) -> None:
    assert {service_of(program) for program in told} == {
        Service.UP, Service.SERVE, Service.SESSIONIZER, Service.WRITER,
    }  # fmt: skip
    for program, families in told.items():
        expected = {metric.name for metric in metrics_of(service_of(program))}
        assert set(families) == expected | set(PROCESS_METRICS), program


def test_kinds_labels_and_buckets_are_as_defined(told: Mapping[str, Told]) -> None:
    for families in told.values():
        for name, samples in families.items():
            if name not in BY_NAME:
                continue
            for sample in samples:
                assert set(sample.labels) - {"le"} == set(BY_NAME[name].labels), sample
            ends = {sample.labels["le"] for sample in samples if "le" in sample.labels}
            if samples and BY_NAME[name].kind is Kind.HISTOGRAM:
                assert ends == {*map(repr, BY_NAME[name].buckets), "+Inf"}


def test_no_series_is_told_twice(told: Mapping[str, Told]) -> None:
    """Prometheus refuses a whole scrape for one."""
    for families in told.values():
        series = [
            (sample.name, *sorted(sample.labels.items()))
            for samples in families.values()
            for sample in samples
        ]
        assert len(series) == len(set(series))


def test_every_metric_has_a_number(told: Mapping[str, Told]) -> None:
    """After traffic of each kind, nothing is told without a sample."""
    without = {
        metric.name
        for metric in METRICS
        if not any(families.get(metric.name) for families in told.values())
    }
    assert without == set()


def test_numbers_agree_with_what_was_sent(
    before: Mapping[str, Told], told: Mapping[str, Told]
) -> None:
    assert value_of(told, "track_http_refusals_total", reason="invalid_json") >= 1
    assert value_of(told, "track_http_requests_total", route="other", status="404") >= 1
    assert value_of(told, "track_http_requests_total", route="/sessions", status="200") >= 1
    acknowledged = value_of(told, "track_acknowledgement_duration_seconds_count", route="/track")
    assert acknowledged == value_of(
        told, "track_http_requests_total", route="/track", method="POST", status="200"
    )
    # Other tests of this stack have used other routes, which count many events to a request.
    since = acknowledged - value_of(
        before, "track_acknowledgement_duration_seconds_count", route="/track"
    )
    published = "track_publisher_events_total"
    assert since == 16 == value_of(told, published) - value_of(before, published)
    assert value_of(told, "track_sessions_total") >= 5
    # Both servers as well, and not `track up` itself.
    assert value_of(told, "track_program_up") == len(told) + 1
    stored = value_of(told, "track_insert_rows_sum", table="events")
    assert value_of(told, "track_end_to_end_age_seconds_count", table="events") == stored
    assert value_of(told, "track_retention_seconds") == RETENTION_S


def test_the_page_has_every_metric_as_it_is_defined() -> None:
    text = PAGE.read_text()
    part = text.partition("<!-- metrics -->")[2].partition("<!-- /metrics -->")[0]
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in part.splitlines()
        if line.startswith("| `")
    ]
    assert rows == [
        (
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            _who(metric.services),
            metric.help,
        )
        for metric in METRICS
    ]
    assert set(re.findall(r"\b(?:track|process)_[a-z_]+", text)) <= {*BY_NAME, *PROCESS_METRICS}


def _who(services: frozenset[Service]) -> str:
    named = [each for each in Service if each is not Service.SERVE]
    return (
        "all" if services >= set(named) else ", ".join(each for each in named if each in services)
    )
