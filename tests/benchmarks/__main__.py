"""All measurements in one run, or some of them: `make bench`, `make bench-NAME`.

    python -m tests.benchmarks [--quick] [--check] [NAME…]

In: names of parts or of figures. Out: a table and `bench.json`; exit code 0, also where a target
is missed; 1 where a measurement could not be made. `--quick` makes small ones, to see that they
work, and leaves the file alone; so does `--check`, which measures what has a ratio and exits with 1
where one is worse than recorded. Never: load on another machine, something left running.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from deploy.local.processes import ServerError
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import RATIOS, BenchmarkError, Figure
from tests.benchmarks.registry import Part, find_parts
from tests.benchmarks.regressions import regressions
from tests.benchmarks.report import (
    FILE,
    RECORDED,
    machine_facts,
    merge_into_file,
    print_table,
    read_file,
)
from tests.benchmarks.sizes import FULL, QUICK


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes; bench.json is left alone.")
@click.option("--check", is_flag=True, help="Compare ratios with bench.json, and leave it alone.")
@click.argument("names", nargs=-1)
def main(quick: bool, check: bool, names: tuple[str, ...]) -> None:
    """Measure what is named, or everything."""
    try:
        parts = find_parts(names or sorted(RATIOS) if check else names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/] {escape(line)}")

    with tempfile.TemporaryDirectory(prefix="track-bench-") as folder:
        bench = Bench(Path(folder), QUICK if quick else FULL, say)
        facts = machine_facts("")
        try:
            figures, failures = _measure(parts, bench, facts)
        finally:
            bench.stop_servers()
    print_table(console, figures, facts)
    if quick:
        console.print("A quick run: the numbers mean nothing, and bench.json was left alone.")
    elif check:
        failures += regressions(figures, read_file(RECORDED))
    elif figures:
        merge_into_file(figures, facts)
        console.print(f"Written to {FILE.name}.")
    for failure in failures:
        console.print(f"[red]✗[/] {escape(failure)}")
    sys.exit(1 if failures else 0)


def _measure(
    parts: list[Part], bench: Bench, facts: dict[str, str]
) -> tuple[list[Figure], list[str]]:
    """Measure the parts one after the other; one that fails does not keep the others.

    An interruption ends the run, and what was measured before it stays.
    """
    figures: list[Figure] = []
    failures: list[str] = []
    for part in parts:
        if part.whole_stack:
            bench.stop_servers()
        try:
            figures += part.measure(bench)
        except KeyboardInterrupt:
            failures.append(f"{part.name}: interrupted")
            break
        except (BenchmarkError, ServerError, TimeoutError) as error:
            failures.append(f"{part.name}: {str(error) or repr(error)}")
        except Exception as error:  # noqa: BLE001  # the outermost loop: the other parts go on
            traceback.print_exc()
            failures.append(f"{part.name}: {error!r}")
        facts["clickhouse"] = bench.clickhouse_version() or facts["clickhouse"]
    return figures, failures


if __name__ == "__main__":
    main()
