"""What people and programs get of a run: a table, and `bench.json`.

In: figures, facts about the machine. Out: the table; a flat file of names and numbers, merged into
the one that is there. Never: a judgement beyond met and missed.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.local.downloads import CLICKHOUSE_VERSION, KAFKA_VERSION
from tests.benchmarks.figures import Figure, number
from tests.benchmarks.programs import ROOT

FILE = ROOT / "bench.json"
# What the documents tell, taken from such a file: it is part of the source, `bench.json` is not.
RECORDED = ROOT / "docs" / "measured.json"


def machine_facts(clickhouse_version: str) -> dict[str, str]:
    """Return what the numbers depend on: machine, versions, date, load at the start."""
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, {_cpu_model()}, {_memory_gb():.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "kafka": os.environ.get("TRACK_KAFKA") or KAFKA_VERSION,
        "clickhouse": clickhouse_version or CLICKHOUSE_VERSION,
        "load_before": load,
    }


def print_table(console: Console, figures: Sequence[Figure], facts: Mapping[str, str]) -> None:
    """Print all figures with their targets, and the machine below."""
    table = Table(title="Benchmark", title_justify="left")
    for heading, justify in (("name", "left"), ("value", "right"), ("target", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("", no_wrap=True)
    table.add_column("how it was measured", ratio=1)
    for figure in figures:
        target = figure.target
        verdict = ""
        if target:
            met = target.is_met_by(figure.value)
            verdict = "[green]met[/]" if met else "[red]missed[/]"
        table.add_row(
            figure.name, number(figure.value), str(target or ""), verdict, escape(figure.how)
        )
    console.print(table)
    console.print(escape("; ".join(f"{name}: {fact}" for name, fact in facts.items())))


def read_file(file: Path = FILE) -> dict[str, object]:
    """Return what has been recorded; nothing where there is no file, or another one."""
    try:
        recorded: dict[str, object] = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return recorded


def merge_into_file(figures: Sequence[Figure], facts: Mapping[str, str], file: Path = FILE) -> None:
    """Write figures and facts into the file; what it holds of other parts stays."""
    known = read_file(file)
    numbers = {figure.name: round(figure.value, 3) for figure in figures}
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({**known, **numbers, **facts}, indent=1, sort_keys=True) + "\n")
    draft.replace(file)


def _cpu_model() -> str:
    models = Path("/proc/cpuinfo")  # Linux alone has it
    for line in models.read_text().splitlines() if models.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
