"""`track sql` as people type it, against a real server: answers, refusals, the prompt."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.migrations import apply_migrations, create_database, read_migrations
from runtime.clickhouse import connect
from runtime.settings import Settings
from tests.benchmarks.programs import beside_python
from tests.conftest import Servers, settings_on
from tests.environments import environment_of, foreign_environment
from tests.query.rows import Event, insert

HOSTILE = ["ann", "\x1b[31mred\x07", "\x9b2J", "a\tb\nc", "日本", '"quoted", and more', "'; DROP"]
_WITHIN_S = 40


@pytest.fixture(scope="module")
def settings(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    named = settings_on(servers, tmp_path_factory.mktemp("home"))
    asyncio.run(_make(named))
    yield named
    asyncio.run(_drop(named))


async def _make(settings: Settings) -> None:
    outside = await connect(settings, database="default")
    await create_database(outside, settings.namespace)
    await outside.close()
    client = await connect(settings)
    await apply_migrations(client, read_migrations())
    events = [Event(user, "play", n * 1000, 0, n) for n, user in enumerate(HOSTILE)]
    await insert(client, "events", events)
    await client.close()


async def _drop(settings: Settings) -> None:
    outside = await connect(settings, database="default")
    await outside.command(f"DROP DATABASE {settings.namespace} SYNC")
    await outside.close()


def track_sql(
    settings: Settings, *arguments: str, typed: bytes = b"", **more: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [beside_python("track"), "sql", *arguments],
        env={**environment_of(settings), **more},
        input=typed, capture_output=True, timeout=_WITHIN_S, check=False,
    )  # fmt: skip


def answer_of(settings: Settings, *arguments: str, typed: bytes = b"") -> bytes:
    done = track_sql(settings, *arguments, typed=typed)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


USERS = "SELECT user_id FROM events ORDER BY kafka_offset"


def test_a_table_is_the_usual_answer(settings: Settings) -> None:
    assert answer_of(settings, "SELECT day, users, events FROM daily_active_users").decode() == (
        "┌────────day─┬─users─┬─events─┐\n│ 1970-01-01 │     7 │      7 │\n"
        "└────────────┴───────┴────────┘\n"
    )


def test_csv_and_json_give_back_what_was_stored(settings: Settings) -> None:
    text = answer_of(settings, "--format", "csv", USERS).decode()
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["user_id"], *([u] for u in HOSTILE)]
    rows = json.loads(answer_of(settings, "--format", "json", USERS))
    assert [row["user_id"] for row in rows] == HOSTILE
    lines = answer_of(settings, "--format", "ndjson", USERS).splitlines()
    assert [json.loads(line)["user_id"] for line in lines] == HOSTILE
    assert json.loads(answer_of(settings, "--format", "json", f"{USERS} LIMIT 0")) == []


def test_parquet_is_whole(settings: Settings) -> None:
    data = answer_of(settings, "--format", "parquet", "SELECT number FROM numbers(200000)")
    assert data[:4] == data[-4:] == b"PAR1"


def test_a_format_in_the_statement_goes_before(settings: Settings) -> None:
    assert answer_of(settings, "--format", "json", "SELECT 1 AS a FORMAT TSV") == b"1\n"


def test_parameters_are_bound(settings: Settings) -> None:
    named = [part for n, user in enumerate(HOSTILE) for part in ("--param", f"user{n}={user}")]
    counts = ", ".join(f"countIf(user_id = {{user{n}:String}})" for n in range(len(HOSTILE)))
    answer = answer_of(settings, *named, f"SELECT {counts} FROM events FORMAT TSV")
    assert answer == b"\t".join([b"1"] * len(HOSTILE)) + b"\n"


def test_statements_come_from_stdin(settings: Settings) -> None:
    typed = b"SELECT ';' AS a; -- the first;\n\nSELECT 2 AS b;\n"
    assert answer_of(settings, "--format", "csv", typed=typed) == b'"a"\n";"\n"b"\n2\n'


def test_what_stands_behind_a_refused_statement_is_not_asked(settings: Settings) -> None:
    done = track_sql(settings, "--format", "csv", typed=b"SELECT 1; SELECT nothing; SELECT 3;")
    assert (done.returncode, done.stdout) == (1, b'"1"\n1\n')


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT nothing FROM events", "Unknown expression identifier `nothing`.*DESCRIBE TABLE"),
        ("SELECT * FROM nowhere", "Unknown table expression identifier 'nowhere'.*SHOW TABLES"),
        ("SELECT FROM WHERE", "Syntax error: failed at position"),
        ("", "There is no statement to ask"),
        (" ; -- nothing", "There is no statement to ask"),
        ("SELECT {user:String}", "`user` is not set"),
        ("INSERT INTO log (id) VALUES ('x')", "changes nothing"),
        ("DROP TABLE events", "changes nothing"),
        ("SELECT 1; DROP TABLE events", "changes nothing"),
        ("SELECT throwIf(number = 100000) FROM numbers(200000)", "Value passed to 'throwIf'"),
        ("SELECT 1 SETTINGS max_execution_time = 'x'", "."),
        ("SELECT '\0'; SELECT \0", "."),
        ("SELECT " + "x" * 10_000, "Unknown expression identifier"),
    ],
)
def test_a_refusal_is_one_sentence(settings: Settings, statement: str, says: str) -> None:
    done = track_sql(settings, typed=statement.encode())
    said = done.stderr.decode()
    assert done.returncode == 1
    assert re.search(says, said), said
    assert said.count("\n") == 1
    assert len(said) < 600
    for noise in ("Code:", "version", "http://", "Traceback", settings.clickhouse):
        assert noise not in said


def test_nothing_is_changed_whoever_asks(settings: Settings) -> None:
    """The user of this test may do everything; the command lets nothing through all the same."""
    for statement in ("TRUNCATE TABLE events", "SET readonly = 0", "CREATE TABLE x (n Int8)"):
        track_sql(settings, f"{statement}")
    assert answer_of(settings, "SELECT count() FROM events FORMAT TSV") == b"7\n"


def test_half_an_answer_is_none(settings: Settings) -> None:
    late = "SELECT throwIf(number = 900000) FROM numbers(1000000) FORMAT TSV"
    done = track_sql(settings, late)
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_server_that_is_away_or_refuses_the_user(settings: Settings) -> None:
    away = track_sql(settings, "SELECT 1", TRACK_CLICKHOUSE="http://a:secret@127.0.0.1:1")
    assert (away.returncode, away.stderr.count(b"\n")) == (70, 1)
    assert b"ClickHouse does not answer" in away.stderr
    address = re.sub("//.*@", "//nobody:secret@", settings.clickhouse)
    stranger = track_sql(settings, "SELECT 1", TRACK_CLICKHOUSE=address)
    assert stranger.returncode == 78
    assert b"Authentication failed" in stranger.stderr
    assert b"secret" not in away.stderr + stranger.stderr


def test_without_a_stack_it_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [beside_python("track"), "sql", "SELECT 1"],
        env={**foreign_environment(), "TRACK_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=_WITHIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 70
    assert "make run" in done.stderr
    assert "TRACK_CLICKHOUSE" in done.stderr


def test_a_reader_that_goes_away_is_no_failure_of_ours(settings: Settings) -> None:
    command = f"{beside_python('track')} sql --format csv 'SELECT * FROM numbers(900000)' | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment_of(settings), capture_output=True, timeout=_WITHIN_S, check=False,
    )  # fmt: skip
    assert done.stdout == b'"number"\n'
    assert b"Traceback" not in done.stderr


# --- the prompt -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Terminal:
    """The prompt on a terminal: keys go in, what is on the screen comes out."""

    process: subprocess.Popen[bytes]
    keys: int
    sign: str
    screen: bytes = b""
    read: int = 0
    """How many characters of the screen, without its colours, were read."""

    def type(self, text: str) -> None:
        os.write(self.keys, text.encode())

    def ask(self, text: str) -> None:
        """Wait for the prompt, and type: what is typed before belongs to nobody."""
        self.expect(self.sign)
        self.type(text)

    def look(self) -> None:
        """Take what is new on the screen, if anything."""
        if select.select([self.keys], [], [], 0.2)[0]:
            self.screen += os.read(self.keys, 65536)

    def expect(self, words: str) -> str:
        """Wait until the words are on the screen; return what was read up to their end.

        What stands behind them is left for the next.
        """
        deadline = time.monotonic() + _WITHIN_S
        while words not in (text := _plain(self.screen)[self.read :]):
            assert time.monotonic() < deadline, text
            self.look()
        end = text.index(words) + len(words)
        self.read += end
        return text[:end]

    def forget(self) -> None:
        """Pass over everything that is on the screen."""
        self.read = len(_plain(self.screen))


def _plain(screen: bytes) -> str:
    """Return what is on the screen without its colours and movements."""
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", screen)
    return text.decode(errors="replace").replace("\r", "")


@contextmanager
def prompt(settings: Settings) -> Iterator[Terminal]:
    """Start the prompt below a shell that ignores Ctrl-C, as what runs in the background does."""
    keys, screen = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$0" sql', beside_python("track")],
        env={**environment_of(settings), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        stdin=screen, stdout=screen, stderr=screen, start_new_session=True,
    )  # fmt: skip
    os.close(screen)
    try:
        yield Terminal(process, keys, f"{settings.namespace}>")
    finally:
        process.kill()
        process.wait()
        os.close(keys)


def test_the_prompt_shows_what_can_be_asked(settings: Settings) -> None:
    with prompt(settings) as terminal:
        shown = terminal.expect("Ctrl-D ends.")
        terminal.ask("help\r")
        assert "Ctrl-D ends." in terminal.expect("Ctrl-D ends.")
    for name in ("events", "sessions", "rejected_events", "daily_active_users", "user_counts"):
        assert re.search(f"^  {name} +[A-Z]", shown, re.MULTILINE), name
    for name in ("events_refusals", "event_counts_15m", "migrations"):
        assert name not in shown


def test_a_statement_goes_over_lines_and_ctrl_d_leaves(settings: Settings) -> None:
    with prompt(settings) as terminal:
        terminal.ask("SELECT 6 *\r")
        terminal.expect("...")
        terminal.type("7 AS answer;\r")
        terminal.expect("│     42 │")
        terminal.ask("\x04")
        assert terminal.process.wait(_WITHIN_S) == 0


def test_a_refusal_ends_nothing(settings: Settings) -> None:
    with prompt(settings) as terminal:
        terminal.ask("SELECT nothing;\r")
        terminal.expect("Unknown expression identifier `nothing`")
        terminal.ask("SELECT 5 + 5 AS ten;\r")
        terminal.expect("│  10 │")


def test_ctrl_c_ends_a_question_and_not_the_prompt(settings: Settings) -> None:
    with prompt(settings) as terminal:
        terminal.ask("SELECT sleepEachRow(1) FROM numbers(60) SETTINGS max_block_size = 1;\r")
        _wait_for_a_question(settings, "sleepEachRow(1)")
        os.killpg(terminal.process.pid, signal.SIGINT)
        began = time.monotonic()
        terminal.expect("Interrupted.")
        assert time.monotonic() - began < 10
        terminal.ask("SELECT 5 + 5 AS ten;\r")
        terminal.expect("│  10 │")
        terminal.ask("exit\r")
        assert terminal.process.wait(_WITHIN_S) == 0


def _wait_for_a_question(settings: Settings, words: str) -> None:
    """Wait until ClickHouse answers a statement with the words."""
    running = (
        "SELECT count() FROM system.processes WHERE current_database = currentDatabase() "
        "AND position(query, {words:String}) > 0 AND query_id != queryID() FORMAT TSV"
    )
    deadline = time.monotonic() + _WITHIN_S
    while answer_of(settings, "--param", f"words={words}", running) == b"0\n":
        assert time.monotonic() < deadline


def test_ctrl_c_drops_a_line(settings: Settings) -> None:
    with prompt(settings) as terminal:
        terminal.ask("SELECT what is this")
        terminal.expect("this")
        terminal.type("\x03")
        time.sleep(1)  # the line is drawn once more before the prompt is a new one
        terminal.forget()
        terminal.type("SELECT 5 + 5 AS ten;\r")
        terminal.expect("│  10 │")


def test_tab_completes_names(settings: Settings) -> None:
    with prompt(settings) as terminal:
        terminal.ask("SELECT sum(users) AS n FROM monthly_act\t")
        terminal.expect("monthly_active_users")
        terminal.type(";\r")
        terminal.expect("│ 7 │")


def test_control_characters_of_data_do_not_reach_the_terminal(settings: Settings) -> None:
    with prompt(settings) as terminal:
        terminal.ask("SELECT user_id AS who FROM events ORDER BY kafka_offset LIMIT 4;\r")
        deadline = time.monotonic() + _WITHIN_S
        while b"\xe2\x90\x9b[31mred\xe2\x90\x87" not in terminal.screen:
            assert time.monotonic() < deadline, terminal.screen
            terminal.look()
        assert b"\x1b[31mred" not in terminal.screen
        assert b"\xc2\x9b" not in terminal.screen


def test_the_history_is_kept_for_its_owner_alone(settings: Settings) -> None:
    with prompt(settings) as terminal:
        terminal.ask("SELECT 'to be remembered' AS kept;\r")
        terminal.expect("│ to be remembered │")
    history = settings.home / "sql_history"
    assert "to be remembered" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
