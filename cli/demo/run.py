"""`track demo`: a day of a music service through the whole pipeline, and every number checked.

In: the settings, a seed, how many users and events. Out: exit code 0 only if every answer is what
it must be. Never: an expectation taken from what is tested: it comes from the log, by the pure
functions, without Faust and ClickHouse.

What is compared, and why it holds on a stack that has earlier data and other senders:
- Sent beside accepted. The users of a run are nobody else's (a word of this run begins their ids),
  so what was sent for them, less the repetitions, must have been accepted exactly once.
- Answers for all users, over the days of the demo, beside the whole log as far as Kafka still has
  it: earlier runs and other senders are in both. The log lacks nothing of these days, because an
  event is never counted on a day after its receipt, and Kafka keeps a week.
- Answers for single users of this run, beside the same log.
The log grows while somebody sends, so it is read on before each comparison.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.markup import escape

from cli.addresses import Stack, settings_on
from cli.demo.day import Day, Way, make_day
from cli.demo.questions import (
    Comparison,
    QuestionError,
    compare,
    questions_for_all,
    questions_for_users,
)
from cli.demo.report import (
    answers_beside_expected,
    day_table,
    disagreements,
    summary_table,
)
from cli.demo.senders import CONNECTIONS, SendingError, send_day, send_spoiled
from cli.demo.stack import running_stack
from cli.demo.weeks import WORD, Spoiled, make_spoiled, make_weeks
from cli.expected import Expectation
from cli.http_connection import HTTPConnection
from cli.log_reader import LogReader
from cli.progress import Bar
from contracts.topics import Partitioner, Topics
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Pipeline
from runtime.settings import Settings
from runtime.startup import require_log

_THROUGH_SECONDS = 180
_POLL_S = 0.2
_USERS_ASKED, _USERS_SHOWN = 100, 5
_NARROWEST = 120
_MOST_PROBLEMS = 20
_INTERRUPTED = 130


@dataclass(slots=True)
class _Run:
    """One run of the demo: what is sent, where it goes, and what became of it.

    Attributes:
        base_url: where HTTP is, with the key to show.
        uncertain: how many sendings got no clear answer and were not repeated.
    """

    console: Console
    stack: Stack
    base_url: str
    day: Day
    expectation: Expectation
    uncertain: int = 0


def run_demo(
    settings: Settings, *, seed: int = 1, users: int = 5_000, events: int = 100_000
) -> int:
    """Send a day that ends now, wait until it is through, compare and show; return the exit code.

    Raises:
        ServerError: no stack runs, and none could be started.
    """
    word = f"demo-{secrets.token_hex(3)}"

    def make() -> Day:
        now_ms = int(time.time() * 1000)
        return make_day(seed=seed, users=users, events=events, ends_at=now_ms, word=word)

    return _run_days(settings, f"seed {seed}, run {word}", word, make)


def run_weeks(settings: Settings) -> int:
    """Send the five weeks of docs/sql.md likewise; return and raise what `run_demo` does."""
    return _run_days(settings, "five weeks", WORD, make_weeks, make_spoiled())


def _run_days(
    settings: Settings,
    title: str,
    word: str,
    make: Callable[[], Day],
    spoiled: Sequence[Spoiled] = (),
) -> int:
    console = _console()
    with running_stack(settings, console) as stack:
        day = make()
        console.rule(f"[bold]track demo[/]  {title}")
        console.print(day_table(day))
        try:
            return asyncio.run(
                _send_and_compare(settings, stack, console, day, word=word, spoiled=spoiled)
            )
        except (SendingError, QuestionError, KafkaError, OSError) as error:
            console.print(f"[bold red]✗[/] {escape(str(error) or type(error).__name__)}")
            return 1
        except KeyboardInterrupt:
            console.print("Interrupted; what was sent stays in the log.")
            return _INTERRUPTED


async def _send_and_compare(
    settings: Settings,
    stack: Stack,
    console: Console,
    day: Day,
    *,
    word: str,
    spoiled: Sequence[Spoiled],
) -> int:
    base_url = _with_key(stack.http, settings.key)
    expectation = Expectation(await _pipeline(settings, stack), word)
    run = _Run(console, stack, base_url, day, expectation)
    topic = Topics.of(stack.namespace).events
    await _send(run)
    if spoiled:
        await send_spoiled(stack.kafka_servers, topic, spoiled)
    sent_at = time.monotonic()
    async with (
        LogReader(stack.kafka_servers, topic, stack.partitions) as log,
        HTTPConnection(base_url, certificate=stack.certificate) as connection,
    ):
        with console.status("Waiting until everything is through …"):
            for_all = await _compare_when_through(run, log, connection)
        console.print(f"Counted {time.monotonic() - sent_at:.1f} s after the last answer.\n")
        for_users = [
            await compare(connection, run.expectation, path, question)
            for path, question in questions_for_users(day, _USERS_ASKED)
        ]
    return _report(run, for_all, for_users)


def _with_key(base_url: str, key: str) -> str:
    return base_url.replace("://", f"://{quote(key, safe='')}@", 1) if key else base_url


async def _pipeline(settings: Settings, stack: Stack) -> Pipeline:
    """Return what the stack's sessionizers work by, with the names and the id of its log."""
    settings = settings_on(stack, replace(settings, kafka="", clickhouse=""))
    log = await require_log(settings)
    rules = PairingRules(log.opens, log.closes, settings.waiting_stop_ms, settings.open_play_ms)
    topic = Topics.of(stack.namespace).events
    return Pipeline(log.id, topic, Partitioner(log.partitions), rules, settings.duplicate_window)


async def _send(run: _Run) -> None:
    """Send everything, each user's events by its way, and show how it goes."""
    sendings, stack = run.day.sendings, run.stack
    topic = Topics.of(stack.namespace).events
    began = time.monotonic()
    with Bar(run.console, "Sending", len(sendings)) as bar:
        run.uncertain = await send_day(
            sendings,
            base_url=run.base_url,
            servers=stack.kafka_servers,
            certificate=stack.certificate,
            topic=topic,
            partitions=stack.partitions,
            on_sent=bar.advance,
        )
    took_s = time.monotonic() - began
    by_http = sum(sending.user.way is Way.HTTP for sending in sendings)
    run.console.print(
        f"Sent {len(sendings):,} events in {took_s:.1f} s: [bold]{by_http / took_s:,.0f}[/] "
        f"POST /track a second over {CONNECTIONS} connections, each answered after Kafka's "
        f"acknowledgement, and {len(sendings) - by_http:,} through Kafka beside them."
    )


async def _compare_when_through(
    run: _Run, log: LogReader, connection: HTTPConnection
) -> list[Comparison]:
    """Wait until all that was sent is accepted and the answers agree; give up after a while."""
    wanted = sum(not sending.repeated for sending in run.day.sendings) - run.uncertain
    deadline = time.monotonic() + _THROUGH_SECONDS
    while True:
        await log.read_to_end(run.expectation.take)
        comparisons = [
            await compare(connection, run.expectation, path, question)
            for path, question in questions_for_all(run.day)
        ]
        through = run.expectation.accepted >= wanted and all(each.agrees for each in comparisons)
        if through or time.monotonic() > deadline:
            return comparisons
        await asyncio.sleep(_POLL_S)


def _report(run: _Run, for_all: Sequence[Comparison], for_users: Sequence[Comparison]) -> int:
    console = run.console
    shown, others = for_users[: 2 * _USERS_SHOWN], for_users[2 * _USERS_SHOWN :]
    console.print(answers_beside_expected(for_all[:2]))
    console.print(summary_table("All users", for_all))
    console.print(summary_table("Single users, by day", shown))
    if others:
        console.print(
            f"{len(others) // 2} other users, each asked for both: "
            f"{sum(each.agrees for each in others)} of {len(others)} answers agree.\n"
        )
    problems = _lost_or_doubled(run) + disagreements([*for_all, *for_users])
    return _verdict(run, problems)


def _lost_or_doubled(run: _Run) -> list[str]:
    """Say which events of this run are not accepted exactly once."""
    sent = Counter(sending.event for sending in run.day.sendings if not sending.repeated)
    accepted = Counter(run.expectation.counted())
    missing, surplus = sent - accepted, accepted - sent
    problems = []
    if missing.total() > run.uncertain:
        problems.append(f"Sent, and not accepted: {dict(missing)}")
    if surplus:
        problems.append(f"Accepted more often than sent: {dict(surplus)}")
    return problems


def _verdict(run: _Run, problems: Sequence[str]) -> int:
    for problem in problems[:_MOST_PROBLEMS]:
        run.console.print(f"[bold red]✗[/] {escape(problem)}")
    if problems:
        run.console.print(f"[bold red]✗ {len(problems)} differences.[/]")
        return 1
    run.console.print(
        f"[bold green]✓ Every number agrees:[/] {run.expectation.accepted:,} events of this run, "
        "each counted once; none lost, none doubled."
    )
    return 0


def _console() -> Console:
    """Return a console; where there is no terminal, one that is wide enough for the tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_NARROWEST)
