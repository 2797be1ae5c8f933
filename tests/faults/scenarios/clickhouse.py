"""ClickHouse killed in the middle of an insert, away, slow, and out of reach."""

from __future__ import annotations

from tests.faults.load import Volume
from tests.faults.proxy import Insert
from tests.faults.registry import scenario
from tests.faults.trial import Trial

_AWAY_S = 120
_BY_DAY = "PARTITION BY toDate(received_at)"


def _partition_finely(trial: Trial) -> None:
    """Make the table of events anew, with seven partitions a day: each block goes over several."""
    client = trial.clickhouse
    made = str(client.query("SHOW CREATE TABLE events").first_row[0])
    if _BY_DAY not in made:
        raise ValueError(f"The table of events is not made with {_BY_DAY}: {made}")
    finely = made.replace(_BY_DAY, "PARTITION BY (toDate(received_at), cityHash64(user_id) % 7)")
    client.command("DROP TABLE events SYNC")
    client.command(finely)


@scenario(before=_partition_finely, volume=Volume(per_s=800))
def clickhouse_is_killed_during_inserts(trial: Trial) -> None:
    """ClickHouse is killed in the middle of inserts over several partitions and views, four times.

    Each time an insert has been asked for and not answered: its answer is what the kill swallows.
    """
    way = trial.servers.ways["writer"].clickhouse
    for _ in range(4):
        trial.sleep(0.5, 2)
        way.delay(0.02)
        trial.lose_answers(way, Insert)
        trial.servers.kill_clickhouse()
        way.heal()
        trial.servers.start_clickhouse()


@scenario()
def clickhouse_is_killed(trial: Trial) -> None:
    """ClickHouse is killed under load and started again."""
    trial.sleep(0.5, 3)
    trial.servers.kill_clickhouse()
    trial.sleep(1, 2)
    trial.servers.start_clickhouse()


@scenario(events=0)
def clickhouse_is_away(trial: Trial) -> None:
    """ClickHouse is away for two minutes under load; events are taken all the while."""
    trial.servers.kill_clickhouse()
    before = trial.acknowledged
    trial.sleep(_AWAY_S)
    trial.figures["acknowledged meanwhile"] = trial.acknowledged - before
    trial.servers.start_clickhouse()


@scenario()
def clickhouse_is_a_black_hole(trial: Trial) -> None:
    """Nothing passes between the writer and ClickHouse, for longer than the session."""
    way = trial.servers.ways["writer"].clickhouse
    way.black_hole()
    trial.sleep(15)
    way.heal()


@scenario()
def clickhouse_is_slow(trial: Trial) -> None:
    """Everything between the writer and ClickHouse takes half a second longer, each way."""
    trial.servers.ways["writer"].clickhouse.delay(0.5)
    trial.sleep(15)
