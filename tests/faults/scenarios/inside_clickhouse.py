"""Inside ClickHouse: rows lost behind their token, no room, too many parts, an older backup."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from contracts.tables import BASE_TABLES
from runtime.clickhouse import ClickHouseError, connect_sync
from tests.faults.load import Volume
from tests.faults.refusals import REFUSED, expect_refusal, require_done
from tests.faults.registry import Play, scenario
from tests.faults.trial import Trial

_FULL_S = 8.0
_EIO_S = 6.0
_TAKING_S, _REFUSED_WITHIN_S = 20.0, 60.0
# A fifth of a gigabyte each, then what still fits in between, until all are killed.
_NUMBERS = (1 << 25,) * 24 + (1 << 23,) * 4 + (1 << 21,) * 8 + (1 << 19,) * 8
# The last setting spares the questions when ClickHouse chooses one to be ended.
_TAKE_MEMORY = """
SELECT uniqExact(number) FROM (
    SELECT number FROM numbers({count:UInt64})
    UNION ALL SELECT toUInt64(sleepEachRow(1)) FROM numbers(120) SETTINGS max_block_size = 1
) SETTINGS max_threads = 1, max_memory_usage = 0, memory_overcommit_ratio_denominator = 0
"""
_SELECT_YOUNGEST = """
SELECT path FROM system.parts
WHERE database = currentDatabase() AND table = {table:String} AND active
  AND min_block_number = max_block_number
ORDER BY modification_time DESC, max_block_number DESC LIMIT 1
"""
# How a table is made to refuse every insert, and with which error.
_NO_INSERTS = {
    "TOO_MANY_PARTS": ("parts_to_throw_insert", "1"),
    "NOT_ENOUGH_SPACE": ("min_free_disk_bytes_to_perform_insert", "1000000000000000000"),
}


def _lose_behind_the_token(table: str, *, is_base: bool) -> Play:
    """Return the play in which a table knows a block's token and has not its rows."""

    def play(trial: Trial) -> None:
        writer = trial.services["writer"]
        trial.clickhouse.command(f"SYSTEM STOP MERGES {table}")
        trial.wait_for_rows(500)
        ended = len(writer.ends)
        writer.kill_at("after_insert:3")
        writer.wait_for_end(ended + 1)
        found = trial.clickhouse.query(_SELECT_YOUNGEST, {"table": table}).result_rows
        trial.servers.kill_clickhouse()
        shutil.rmtree(found[0][0])
        before = len(writer.ends)
        trial.servers.start_clickhouse()
        if is_base:
            expect_refusal(trial, writer, "track repair", before)
        else:
            writer.wait_until_ready()

    return play


for _base in BASE_TABLES:
    for _table, _is_base in ((_base.name, True), *((each.name, False) for each in _base.rollups)):
        scenario(
            f"rows_lost_behind_a_token_in_{_table}",
            about=f"ClickHouse is killed between a token and the renaming of its part in {_table}.",
        )(_lose_behind_the_token(_table, is_base=_is_base))


@scenario()
def renaming_parts_fails(trial: Trial) -> None:
    """Renaming a part fails with EIO now and then: the token is written, the rows are not there.

    Needs strace, which makes the system call fail.
    """
    if shutil.which("strace") is None:
        trial.figures["not run"] = "strace is not installed"
        return
    writer = trial.services["writer"]
    writer.expected_ends.add(REFUSED)
    command = [
        "strace", "-f", "-qq", "-o", "/dev/null", "-p", str(trial.servers.clickhouse_pid),
        "-e", "trace=rename,renameat,renameat2",
        "-e", "inject=rename,renameat,renameat2:error=EIO:when=5+7",
    ]  # fmt: skip
    failing = subprocess.Popen(command)
    trial.sleep(_EIO_S)
    failing.terminate()
    failing.wait(20)
    trial.figures["refusals"] = sum(code == REFUSED for code in writer.ends)
    trial.sleep(3)
    trial.repair()


def _refuse_inserts(error: str) -> Play:
    setting, value = _NO_INSERTS[error]

    def play(trial: Trial) -> None:
        for base in BASE_TABLES:
            for table in (base.name, *(each.name for each in base.rollups)):
                _set(trial, table, f"MODIFY SETTING {setting} = {value}")
                trial.sleep(_FULL_S / 4)
                _set(trial, table, f"RESET SETTING {setting}")
        if not trial.services["writer"].has_said(error):
            trial.found(f"ClickHouse never answered {error}")

    return play


for _error in _NO_INSERTS:
    scenario(
        f"clickhouse_answers_{_error.lower()}",
        about=f"ClickHouse answers {_error}, by each table in turn; the same block goes in later.",
    )(_refuse_inserts(_error))


@scenario(volume=Volume(per_s=1_500))
def clickhouse_has_too_little_memory(trial: Trial) -> None:
    """Questions take all of ClickHouse's memory: MEMORY_LIMIT_EXCEEDED; blocks go in later."""
    writer = trial.services["writer"]
    with _memory_taken(trial):
        # Rows gather meanwhile: an insert of a few takes less than ClickHouse accounts for.
        writer.stop()
        trial.sleep(_TAKING_S)
        writer.start()
        trial.wait_for(
            lambda: writer.has_said("MEMORY_LIMIT_EXCEEDED"),
            "an insert that is answered MEMORY_LIMIT_EXCEEDED",
            _REFUSED_WITHIN_S,
        )
        trial.sleep(_FULL_S)


@contextmanager
def _memory_taken(trial: Trial) -> Iterator[None]:
    """Let questions take ClickHouse's memory for as long as the block lasts."""
    ending = threading.Event()

    def take(count: int) -> None:
        client = connect_sync(trial.settings)
        while not ending.is_set():
            with suppress(ClickHouseError):
                client.command(_TAKE_MEMORY, {"count": count})
        client.close()

    with ThreadPoolExecutor(len(_NUMBERS)) as threads:
        for count in _NUMBERS:
            threads.submit(take, count)
        try:
            yield
        finally:
            ending.set()
            trial.clickhouse.command("KILL QUERY WHERE query LIKE '%uniqExact(number)%' SYNC")


@scenario()
def clickhouse_is_an_older_backup(trial: Trial) -> None:
    """ClickHouse is restored from a backup: refused with a sentence; `track repair` fills it."""
    writer = trial.services["writer"]
    data = trial.servers.clickhouse_folder / "data"
    backup = data.with_name("backup")
    trial.wait_for_rows(500)
    _copy_while_down(trial, data, backup)
    trial.wait_for_events(500)
    trial.wait_for_rows(1_000)
    writer.stop()
    _copy_while_down(trial, backup, data)
    shutil.rmtree(backup)
    ended = len(writer.ends)
    writer.start()
    expect_refusal(trial, writer, "track repair", ended)


@scenario()
def the_window_of_tokens_is_too_small(trial: Trial) -> None:
    """A table remembers too few tokens: the writer refuses to start; `track migrate` mends it."""
    writer = trial.services["writer"]
    writer.stop()
    _set(trial, "events", "MODIFY SETTING non_replicated_deduplication_window = 10")
    ended = len(writer.ends)
    writer.start()
    expect_refusal(trial, writer, "remembers 10 deduplication tokens", ended)
    writer.stop()
    require_done(trial, "migrate")
    writer.start()
    writer.wait_until_ready()


def _set(trial: Trial, table: str, change: str) -> None:
    trial.clickhouse.command(f"ALTER TABLE {table} {change}")


def _copy_while_down(trial: Trial, source: Path, target: Path) -> None:
    trial.servers.kill_clickhouse()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    trial.servers.start_clickhouse()
