"""The runner of `deploy/clickhouse/NNNN_name.sql`: each file once, in order, unchanged.

In: the files and a client. Out: the tables, and in `migrations` what was applied. Never: a
file applied whose checksum differs from the one noted; a table of another database touched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import deploy
from runtime.clickhouse import AsyncClient

MIGRATIONS = Path(deploy.__file__).parent / "clickhouse"

_FILE_NAME = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
# A statement ends where a line ends with a semicolon.
_STATEMENT_END = re.compile(r";[ \t]*$", re.MULTILINE)

_CREATE_DATABASE = """
CREATE DATABASE IF NOT EXISTS {database:Identifier}
COMMENT 'The events of one pipeline, their sessions and counts. Begin with the views event_counts, user_counts, session_stats and the tables events and sessions.'
"""  # noqa: E501
_CREATE_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt16 COMMENT 'Number of the file',
    name String COMMENT 'Name of the file, without number and ending',
    checksum String COMMENT 'SHA-256 of the file, in hex',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was applied (UTC)'
)
ENGINE = MergeTree ORDER BY number
COMMENT 'Which of the files in deploy/clickhouse were applied to this database.'
"""
_SELECT_APPLIED = "SELECT number, checksum FROM migrations"
_INSERT_APPLIED = """
INSERT INTO migrations (number, name, checksum)
VALUES ({number:UInt16}, {name:String}, {checksum:String})
"""


class MigrationError(Exception):
    """The files and the database do not fit together; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name, the checksum of its bytes and its statements."""

    number: int
    name: str
    checksum: str
    statements: tuple[str, ...]


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Return the files of a folder in the order of their numbers.

    Raises:
        MigrationError: a file has another name, or two have one number.
    """
    found = [_read(path) for path in sorted(folder.glob("*.sql"))]
    numbers = [each.number for each in found]
    if len(set(numbers)) != len(numbers):
        raise MigrationError(f"Two files in {folder.name} have the same number.")
    return found


async def create_database(client: AsyncClient, database: str) -> None:
    """Make the database if it is not there; the client is connected to another one."""
    await client.command(_CREATE_DATABASE, parameters={"database": database})


async def apply_migrations(client: AsyncClient, migrations: Iterable[Migration]) -> list[str]:
    """Apply the files that were not applied yet, in order; return their names.

    Statements can be repeated, so a run that was cut off inside a file is finished by the next.

    Raises:
        MigrationError: a file that was applied has changed since, or is not there any more.
    """
    await client.command(_CREATE_MIGRATIONS)
    applied: dict[int, str] = dict((await client.query(_SELECT_APPLIED)).result_rows)
    wanted = list(migrations)
    _check_applied(wanted, applied)
    done = []
    for each in wanted:
        if each.number not in applied:
            await _apply(client, each)
            done.append(f"{each.number:04}_{each.name}")
    return done


def _read(path: Path) -> Migration:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise MigrationError(f"{path.name} must be named like 0001_name.sql.")
    data = path.read_bytes()
    statements = (each.strip() for each in _STATEMENT_END.split(data.decode()))
    return Migration(
        number=int(match[1]),
        name=match[2],
        checksum=hashlib.sha256(data).hexdigest(),
        statements=tuple(each for each in statements if each),
    )


def _check_applied(wanted: Iterable[Migration], applied: Mapping[int, str]) -> None:
    by_number = {each.number: each for each in wanted}
    for number, checksum in sorted(applied.items()):
        migration = by_number.get(number)
        if migration is None:
            raise MigrationError(
                f"The database has migration {number:04}, which this version does not have; "
                "install the version that applied it, or a later one."
            )
        if migration.checksum != checksum:
            raise MigrationError(
                f"{number:04}_{migration.name}.sql was applied and has changed since; "
                "restore the file and put the change into a new one with the next number."
            )


async def _apply(client: AsyncClient, migration: Migration) -> None:
    for statement in migration.statements:
        await client.command(statement)
    await client.command(
        _INSERT_APPLIED,
        parameters={
            "number": migration.number,
            "name": migration.name,
            "checksum": migration.checksum,
        },
    )
