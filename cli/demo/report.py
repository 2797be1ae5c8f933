"""How the demo shows what it found: answers beside what was expected, and a verdict.

In: comparisons of answers with expectations. Out: tables for rich's console, in colour on a
terminal and plain elsewhere. Never: a comparison of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.columns import Columns
from rich.table import Table

from cli.demo.day import Day, Way
from cli.demo.questions import Comparison
from cli.expected import Period

_SAME, _DIFFERENT = "[green]✓[/]", "[bold red]✗[/]"
_LATE_MS = 600_000


def day_table(day: Day) -> Table:
    """Return what the day consists of."""
    events = Counter(sending.event for sending in day.sendings)
    by_kafka = sum(sending.user.way is Way.KAFKA for sending in day.sendings)
    table = _table("The day")
    table.add_column("what")
    table.add_column("how many", justify="right")
    for name, count in events.most_common():
        table.add_row(f"event [bold]{name}[/]", f"{count:,}")
    table.add_section()
    late = sum(sending.arrives_at - sending.timestamp > _LATE_MS for sending in day.sendings)
    table.add_row("sent twice with one event_id", f"{sum(s.repeated for s in day.sendings):,}")
    table.add_row("more than 10 minutes late (offline)", f"{late:,}")
    table.add_row("by a Kafka producer, librdkafka's partitioner", f"{by_kafka:,}")
    table.add_section()
    table.add_row(f"all, of {len(day.users):,} users", f"{len(day.sendings):,}")
    return table


def answers_beside_expected(comparisons: Sequence[Comparison]) -> Columns:
    """Return a table per comparison, side by side where there is room."""
    return Columns([_numbers_table(each) for each in comparisons], padding=(0, 4))


def summary_table(title: str, comparisons: Iterable[Comparison]) -> Table:
    """Return one line per comparison: its periods and its main number."""
    table = _table(title)
    # Where there is little room, the name of a user is folded: the numbers and the verdict stay.
    table.add_column("asked", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("periods", no_wrap=True)
    for heading in ("answered", "expected"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in comparisons:
        table.add_row(
            each.asked,
            each.of,
            ", ".join(str(period["date"]) for period in each.answered),
            _sum_of(each.answered),
            _sum_of(each.expected),
            _sign(each.agrees),
        )
    return table


def disagreements(comparisons: Iterable[Comparison]) -> list[str]:
    """Return a line for each answer that is not as expected."""
    return [
        f"GET {each.url}\n  answered {each.answered}\n  expected {each.expected}"
        for each in comparisons
        if not each.agrees
    ]


def _numbers_table(comparison: Comparison) -> Table:
    table = _table(f"{comparison.asked} {comparison.of}")
    table.add_column("date")
    table.add_column("number")
    for heading in ("answered", "expected"):
        table.add_column(heading, justify="right")
    table.add_column("", no_wrap=True)
    answered, expected = _by_date(comparison.answered), _by_date(comparison.expected)
    for day in sorted(answered.keys() | expected.keys()):
        shown = day
        numbers = answered.get(day, {}), expected.get(day, {})
        for name in sorted(numbers[0].keys() | numbers[1].keys()):
            one, other = numbers[0].get(name), numbers[1].get(name)
            table.add_row(shown, name, _number(one), _number(other), _sign(one == other))
            shown = ""
        table.add_section()
    return table


def _by_date(periods: Iterable[Period]) -> dict[str, Period]:
    return {
        str(period["date"]): {name: number for name, number in period.items() if name != "date"}
        for period in periods
    }


def _sum_of(periods: Sequence[Period]) -> str:
    """Say how much the periods hold: sessions and their seconds, or events."""
    sums: Counter[str] = Counter()
    for period in periods:
        sums.update({name: number for name, number in period.items() if isinstance(number, int)})
    if not sums:
        return "nothing"
    if "sessionCount" in sums:
        return f"{sums['sessionCount']:,} sessions, {sums['totalDuration']:,} s"
    return f"{sums.total():,} events"


def _number(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else "–"


def _sign(agrees: bool) -> str:
    return _SAME if agrees else _DIFFERENT


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
