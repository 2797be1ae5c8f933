"""The tables of what was measured, in docs/performance.md and the README.

    python -m tests.benchmarks.tables

In: `bench.json`, as far as there is one. Out: its figures recorded in `docs/measured.json`, and the
lines between `<!-- bench -->` and `<!-- /bench -->` of both documents written anew. Never: a number
that was not recorded; a figure without its target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.benchmarks.figures import ABOUT, TARGETS, number
from tests.benchmarks.programs import ROOT
from tests.benchmarks.report import FILE, RECORDED, read_file

# The README has the first of each kind; docs/performance.md has all.
HEAD = (
    "http_single_vs_plain",
    "http_batch_events_per_s",
    "pipeline_http_events_per_s",
    "pipeline_kafka_events_per_s",
    "sessionizer_events_per_s",
    "sessionizer_vs_faust",
    "writer_rows_per_s",
    "latency_p50_ms",
    "latency_p99_ms",
    "query_p99_ms",
    "idle_rss_mb",
    "cold_start_s",
)
DOCUMENTS: Mapping[Path, Iterable[str]] = {
    ROOT / "README.md": HEAD,
    ROOT / "docs" / "performance.md": ABOUT,
}
_TABLE = re.compile("(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)


def table(names: Iterable[str], recorded: Mapping[str, object]) -> str:
    """Return the lines of a table; a figure that was never recorded says so."""
    lines = ["| name | value | target | what it is |", "|---|---|---|---|"]
    for name in names:
        target, value = TARGETS.get(name), recorded.get(name)
        if not isinstance(value, int | float):
            told = "not measured"
        elif target is None or target.is_met_by(value):
            told = number(value)
        else:
            told = f"{number(value)}: missed"
        lines.append(f"| `{name}` | {told} | {target or ''} | {ABOUT[name]} |")
    return "".join(f"{line}\n" for line in lines)


def with_table(text: str, names: Iterable[str], recorded: Mapping[str, object]) -> str:
    """Return a document with its table written anew."""
    made = table(names, recorded)
    return _TABLE.sub(lambda _: made, text)


def main() -> None:
    """Record what was measured, and write the tables of both documents."""
    recorded = {**read_file(RECORDED), **read_file(FILE)}
    RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    for document, names in DOCUMENTS.items():
        document.write_text(with_table(document.read_text(), names, recorded))


if __name__ == "__main__":
    main()
