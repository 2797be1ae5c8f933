"""The one command line, `track`: each subcommand is a name, its help and one call.

In: arguments, and settings from the environment. Out: an exit code: 0 done, 1 not done, 70 a server
is away or the process failed (to be started again), 78 a setting or the log is wrong; one sentence
on stderr says what. Never: an import of a service before
its own subcommand runs, so that each command starts fast and needs only its own parts.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import click

from cli.key_commands import keys
from cli.refusals import EXIT_CONFIGURATION, refusals
from cli.rejected.commands import rejected
from deploy.local.processes import ServerError
from runtime.settings import Settings, SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def track() -> None:
    """Events in over HTTP and Kafka, exactly-once counts and sessions out of ClickHouse.

    Settings come from the environment (TRACK_PORT, TRACK_HOME, TRACK_KAFKA …); the README lists
    them.
    """


@track.command()
@click.option(
    "--ends-with-parent", is_flag=True, help="Stop when the program that started it ends."
)
def up(ends_with_parent: bool) -> None:
    """Start everything here: Kafka, ClickHouse and the services, until Ctrl-C.

    Servers named by TRACK_KAFKA or TRACK_CLICKHOUSE are used instead of local ones. Data and logs
    are kept in TRACK_HOME (.local).
    """
    from cli.up import run_up

    sys.exit(run_up(_settings(), ends_with_parent=ends_with_parent))


@track.command()
def migrate() -> None:
    """Make the topics, the database and its tables, or bring them up to date."""
    from cli.addresses import with_stack
    from cli.migrate import migrate as run_migrate

    with refusals():
        run_migrate(with_stack(_settings()))


@track.command()
@click.argument("partition", type=int, required=False)
@click.option("--to", default="", help="Go on from here: beginning, end or an offset.")
@click.option("--yes", is_flag=True, help="Do it, instead of saying what it would mean.")
def position(partition: int | None, to: str, yes: bool) -> None:
    """Show how far each partition has been processed, or set where one goes on.

    Setting it fences the sessionizer that owns the partition; it starts anew from there. Offsets
    that are skipped are never counted, offsets that are repeated are counted twice.
    """
    from cli.addresses import with_stack
    from cli.position import set_position, show_positions

    with refusals():
        settings = with_stack(_settings())
        if partition is None or not to:
            show_positions(settings)
        else:
            set_position(settings, partition, to, confirmed=yes)


@track.command()
@click.option("--apply", is_flag=True, help="Make the rules, instead of showing the commands.")
@click.option(
    "--user",
    "renamed",
    multiple=True,
    metavar="ROLE=NAME",
    help="The name of a role's user, where it is not the role's own.",
)
def acls(apply: bool, renamed: tuple[str, ...]) -> None:
    """Show what Kafka must allow each service, as commands of its own tool, or make it so.

    The roles are admin, ingest, sessionizer, writer, query, producer and reader.
    """
    from cli.acls import ROLES, apply_rules, show_rules
    from cli.addresses import with_stack

    users = dict(zip(ROLES, ROLES, strict=True))
    for each in renamed:
        role, _, name = each.partition("=")
        if role not in users or not name:
            raise click.BadParameter(
                f"{each} is not ROLE=NAME with one of {', '.join(ROLES)}", param_hint="--user"
            )
        users[role] = name
    with refusals():
        settings = with_stack(_settings())
        (apply_rules if apply else show_rules)(settings, users)


@track.command()
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of `track export`: see that its files are whole, and hold it against the tables "
    "as far as its days are still there.",
)
def verify(export: Path | None) -> None:
    """Hold topics, tables and rollups against each other; exit code 0 only if all agree.

    It changes nothing, and may be run while events come in.
    """
    from cli.addresses import with_stack
    from cli.verify import verify as run_verify

    with refusals():
        sys.exit(0 if run_verify(with_stack(_settings()), export) else 1)


def _days(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which days of receipt are meant."""
    day = click.DateTime(["%Y-%m-%d"])
    until = click.option("--until", type=day, metavar="DAY", help="The last day (YYYY-MM-DD, UTC).")
    since = click.option("--from", "since", type=day, metavar="DAY", help="The first day.")
    return since(until(command))


@track.command("export")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    required=True,
    help="The folder; it is made if it is not there. Each log has a folder of its own.",
)
@_days
def export_(folder: Path, since: datetime | None, until: datetime | None) -> None:
    """Write the events of each day into Parquet files, before they expire.

    A day is the day (UTC) on which Kafka received the events. It is written when it is over and
    everything of it is in the table, whole or not at all, and named in DIR/manifest.json with its
    counts. What is there already is not written again, unless the day has got other rows since. Run
    it every day, and again after it was cut off. Exit code 0 means that every day that was asked
    for, by default every day that is over, is in the folder or has begun to expire.
    """
    from cli.addresses import with_exporter
    from cli.parquet.export import export

    with refusals():
        settings = with_exporter(_settings())
        done = export(settings, folder, first=_day(since), last=_day(until))
    sys.exit(0 if done else 1)


@track.command("import")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@_days
def import_(folder: Path, since: datetime | None, until: datetime | None) -> None:
    """Bring days that were exported into DIR back, into the table imported_events.

    Ask the view all_events for these and all others, each event once. Counts and sessions stay as
    they are: they have outlived the events. Files are compared with DIR/manifest.json first. A
    day that is there already is not imported again, and a run that was cut off can be repeated.
    Users who are forgotten are left out.
    """
    from cli.addresses import with_stack
    from cli.parquet.loading import import_days

    with refusals():
        import_days(with_stack(_settings()), folder, first=_day(since), last=_day(until))


@track.command()
@click.option("--yes", is_flag=True, help="Do it, instead of saying what would be done.")
def repair(yes: bool) -> None:
    """Say what of tables and offsets does not fit the topics, and mend it.

    The writer must be stopped. Where no stack runs, Kafka and ClickHouse are started for as long
    as it takes. Exit code 0 only if nothing is left to mend.
    """
    from cli.repair.run import repair as run_repair
    from cli.repair.servers import servers_for

    with refusals(), servers_for(_settings()) as settings:
        sys.exit(0 if run_repair(settings, confirmed=yes) else 1)


@track.command()
@click.argument("statement", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "ndjson", "parquet"]),
    default="table",
    show_default=True,
    help="How the answer is written.",
)
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="What {NAME:Type} in the statement stands for.",
)
def sql(statement: str | None, form: str, parameters: tuple[str, ...]) -> None:
    """Ask ClickHouse in SQL, as the analyst of the stack that runs here.

    Without a statement: a prompt on a terminal, else what comes by stdin, one statement after the
    other, each ended by a semicolon. Exit code 1 if one is refused.
    """
    from cli.sql.answers import Format
    from cli.sql.run import run_sql

    for each in parameters:
        if "=" not in each:
            raise click.BadParameter(f"{each} is not NAME=VALUE", param_hint="--param")
    bound = dict(each.split("=", 1) for each in parameters)
    sys.exit(run_sql(_settings(), statement, Format(form), bound))


@track.command()
@click.argument("user_id")
@click.option("--json", "is_json", is_flag=True, help="USER_ID is a JSON string.")
@click.option("--yes", is_flag=True, help="Do it, instead of saying what is kept.")
def forget(user_id: str, is_json: bool, yes: bool) -> None:
    """Say what is kept of a user, and forget it: events, sessions, counts, plays, rejections.

    Imported days too; files of `track export` are beyond its reach.
    What comes later counts as a new user's. An id that begins with a dash stands behind --. Exit
    code 1 means that the user is unknown.
    """
    from cli.addresses import with_stack
    from cli.forgetting.names import user_named
    from cli.forgetting.run import forget as run_forget

    name = user_named(user_id, is_json=is_json)
    if name is None:
        raise click.BadParameter("it is no JSON string", param_hint="USER_ID")
    with refusals():
        sys.exit(0 if run_forget(with_stack(_settings()), name, confirmed=yes) else 1)


@track.command()
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same day.")
@click.option(
    "--users",
    type=click.IntRange(1),
    default=5_000,
    show_default=True,
    help="How many users there are.",
)
@click.option(
    "--events",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="How many events are sent.",
)
@click.option(
    "--weeks",
    is_flag=True,
    help="The five weeks of docs/sql.md instead; once, into an empty stack.",
)
def demo(seed: int, users: int, events: int, weeks: bool) -> None:
    """Send a realistic day of events, then compare the answers with what they must be.

    It uses the running stack, or else starts one. Exit code 0 means that every number agrees.
    The five weeks are the same for everybody, whatever the other options say.
    """
    from cli.demo.run import run_demo, run_weeks

    if weeks:
        with refusals():
            sys.exit(run_weeks(_settings()))
    if events < users:
        raise click.BadParameter("every user sends at least once", param_hint="--events")
    with refusals():
        sys.exit(run_demo(_settings(), seed=seed, users=users, events=events))


@track.command()
def serve() -> None:
    """Serve ingest and query on one port: what the local stack runs."""
    from cli.serve import run as run_serve

    with refusals():
        run_serve(_settings())


@track.command()
def ingest() -> None:
    """Serve POST /track: HTTP to Kafka."""
    from cli.serve import run_ingest

    with refusals():
        run_ingest(_settings())


@track.command()
def query() -> None:
    """Serve /metrics, /sessions and the dashboard: ClickHouse to HTTP."""
    from cli.serve import run_query

    with refusals():
        run_query(_settings())


@track.command()
def sessionizer() -> None:
    """Run a sessionizer: it admits events and pairs plays with stops, Kafka to Kafka."""
    from processors.sessionizer.app import run

    with refusals():
        run(_settings())


@track.command()
def writer() -> None:
    """Run a writer: accepted events, sessions and rejections, Kafka to ClickHouse."""
    from processors.writer.app import run

    with refusals():
        run(_settings())


track.add_command(keys)
track.add_command(rejected)


def main() -> None:
    """Run the command line; what is refused or cannot be had becomes one sentence on stderr."""
    try:
        track()
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION)
    except ServerError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _settings() -> Settings:
    return Settings.from_environment(os.environ)


if __name__ == "__main__":
    main()
