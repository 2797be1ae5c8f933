"""Rules, scrape configurations and the dashboard name what the services really tell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.metrics_ports import TARGETS
from contracts.metrics import BY_NAME, METRICS, PROCESS_METRICS, Kind
from runtime.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
BOARD = DEPLOY / "grafana" / "track.json"

# What Prometheus, the scrape configurations and buckets add.
_ADDED_LABELS = {"job", "program", "le"}
_NAME = re.compile(r"\b(?:track|process)_\w+")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load(ALERTS.read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in json.loads(BOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


EXPRESSIONS = list(expressions())
each_expression = pytest.mark.parametrize(
    ("where", "expression"),
    EXPRESSIONS,
    ids=[f"{n}-{each[0]}" for n, each in enumerate(EXPRESSIONS)],
)


def base_of(name: str) -> str:
    """Return the metric of a series: a histogram has three."""
    base = _SUFFIX.sub("", name)
    return base if base in BY_NAME and BY_NAME[base].kind is Kind.HISTOGRAM else name


@each_expression
def test_every_name_is_told(where: str, expression: str) -> None:
    names = _NAME.findall(expression)
    unknown = [name for name in names if base_of(name) not in {*BY_NAME, *PROCESS_METRICS}]
    assert unknown == [], where
    assert names or "up{" in expression
    for name in names:
        whole = name in BY_NAME and BY_NAME[name].kind is Kind.HISTOGRAM
        assert not whole, f"{where}: {name} has no series of its own name"


@each_expression
def test_every_label_is_one_of_the_metric(where: str, expression: str) -> None:
    told = {label for name in _NAME.findall(expression) for label in labels_of(base_of(name))}
    asked = re.findall(r"by \(([^)]*)\)", expression)
    asked += re.findall(r'(\w+)\s*(?:=|!=|=~|!~)\s*"', expression)
    wanted = {label.strip() for labels in asked for label in labels.split(",")}
    assert wanted <= told | _ADDED_LABELS, where


def labels_of(name: str) -> tuple[str, ...]:
    return BY_NAME[name].labels if name in BY_NAME else ()


def test_rules_are_whole() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_what_must_be_noticed_has_a_rule() -> None:
    named = {name for rule in rules() for name in _NAME.findall(rule["expr"])}
    assert named >= {
        "track_stalled_seconds",
        "track_retention_left_seconds",
        "track_rejections_total",
        "process_start_time_seconds",
    }


def test_the_scrapes_ask_where_the_services_answer() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    [job] = yaml.safe_load((PROMETHEUS / "compose.yml").read_text())["scrape_configs"]
    [asked] = job["dns_sd_configs"]
    told = {
        name: service["environment"]["TRACK_METRICS_PORT"]
        for name, service in compose["services"].items()
        if name in asked["names"]
    }
    assert told == dict.fromkeys(["ingest", "query", "sessionizer", "writer"], str(asked["port"]))
    [job] = yaml.safe_load((PROMETHEUS / "local.yml").read_text())["scrape_configs"]
    [files] = job["file_sd_configs"]
    local = (PROMETHEUS / files["files"][0]).resolve()
    assert local == DEPLOY.parent / Settings().home / TARGETS


def test_promtool_takes_them_where_there_is_one() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here; names and labels were checked instead")
    for arguments in (
        ["rules", ALERTS],
        *(["config", each] for each in PROMETHEUS.glob("[cl]*.yml")),
    ):
        command = [promtool, "check", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"track_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)\b", metric.name)
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert not metric.help.endswith(".")
    assert len(BY_NAME) == len(METRICS)
