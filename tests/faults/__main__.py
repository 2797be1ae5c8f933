"""The fault suite in one run, or a part of it: `make faults`, `make faults NAME=… SEED=…`.

    python -m tests.faults [--seed N] [--events N --minutes N] [--short] [--list] [NAME…]

In: names of scenarios or themes, with wildcards. Out: a line for each scenario with its figures,
and a sentence for each thing that is wrong; exit code 0 only if there is none. Logs are kept in
`.local/faults/`. Never: a server that others use, something left running.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from tests.faults.registry import Scenario, all_scenarios, find_scenarios
from tests.faults.servers import FaultyServers, faulty_servers
from tests.faults.trial import Result, Size, run_trial

KEPT = Path(".local/faults")


@click.command()
@click.option("--seed", default=1, show_default=True, help="The same seed, the same scenario.")
@click.option("--events", default=Size().events, show_default=True, help="Of the random run.")
@click.option("--minutes", default=Size().minutes, show_default=True, help="Of the random run.")
@click.option("--short", is_flag=True, help="Only the selection that `make test` includes.")
@click.option("--list", "listed", is_flag=True, help="Say what there is.")
@click.argument("names", nargs=-1)
def main(
    seed: int, events: int, minutes: float, short: bool, listed: bool, names: tuple[str, ...]
) -> None:
    """Run what is named, or everything."""
    try:
        found = [each for name in names for each in find_scenarios(name)] or all_scenarios()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    chosen = [each for each in dict.fromkeys(found) if each.short or not short]
    if listed:
        for each in chosen:
            click.echo(f"{each.theme:14} {each.name}: {each.about}")
        return
    # The load's own producers say at length that a server is away, which is what is wanted.
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = _run(chosen, seed, Size(events, minutes))
    failed = [result.scenario for result in results if result.problems]
    click.echo(
        f"{len(results)} scenarios, seed {seed}: "
        + (
            f"{len(failed)} failed: {', '.join(failed)}"
            if failed
            else "nothing lost, nothing twice"
        )
    )
    sys.exit(1 if failed else 0)


def _run(chosen: Sequence[Scenario], seed: int, size: Size) -> list[Result]:
    """Run scenarios one after the other; after a failure the next one gets new servers."""
    results: list[Result] = []
    waiting = list(chosen)
    while waiting:
        with _new_servers() as servers:
            while waiting:
                results.append(_run_one(waiting.pop(0), servers, seed, size))
                if results[-1].problems:
                    break
    return results


def _run_one(scenario: Scenario, servers: FaultyServers, seed: int, size: Size) -> Result:
    began, folder = time.monotonic(), KEPT / scenario.name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        result = run_trial(scenario, servers, seed, folder.absolute(), size)
    except Exception as error:  # noqa: BLE001  # the outermost loop: the others go on
        traceback.print_exc()
        result = Result(scenario.name, seed, [repr(error)], {}, time.monotonic() - began)
    mark = "✗" if result.problems else "✓"
    click.echo(f"{mark} {scenario.name} ({result.took_s:.0f} s): {_listed(result.figures)}")
    for problem in result.problems:
        click.echo(f"    {problem}")
    if result.problems:
        click.echo(f"    logs: {folder}; again with: make faults NAME={scenario.name} SEED={seed}")
    return result


@contextmanager
def _new_servers() -> Iterator[FaultyServers]:
    with (
        tempfile.TemporaryDirectory(prefix="track-faults-", ignore_cleanup_errors=True) as folder,
        faulty_servers(Path(folder)) as servers,
    ):
        yield servers


def _listed(figures: dict[str, object]) -> str:
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
        for name, value in figures.items()
    )


if __name__ == "__main__":
    main()
