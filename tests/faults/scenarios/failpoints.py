"""Failpoints: each service is killed at each of its named places, in the middle of the load.

One scenario for each place that `tests/faults/failpoints.py` enumerates: the service dies there in
its first life, or, where that takes some doing, in a later one; then it is started again.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.failpoints import FAILPOINTS
from tests.faults.registry import Play, scenario
from tests.faults.services import Service
from tests.faults.trial import Trial

_PASSES_WITHIN_S = 90.0
_REFUSED = "refused"
_ROLLUP = "user_counts_15m"

_TWICE = ("before_redo", "after_redo")
_ASKED = (
    "ingest.before_drain",
    "ingest.after_drain",
    "before_give_up",
    "after_give_up",
)
_REVOKED = ("sessionizer.before_give_up", "sessionizer.after_give_up")
_OF_BEGINNING = (
    "ingest.before_connect",
    "ingest.after_connect",
    "sessionizer.before_fence",
    "sessionizer.after_fence",
    "sessionizer.after_state",
    "sessionizer.after_restore",
    "before_standings",
    "after_standings",
)
_FILLING = ("before_fill", "after_fill")
_REFUSING = ("after_refused", "after_refusals")


def _die_under_load(trial: Trial, service: Service, point: str) -> None:
    """Die at the n-th passing, n chosen by the seed."""
    service.kill_at(f"{point}:{trial.random.randint(1, 5)}")


def _die_at_the_beginning(trial: Trial, service: Service, point: str) -> None:
    service.kill_at(f"{point}:1")


def _die_when_asked_to_end(trial: Trial, service: Service, point: str) -> None:
    """Be armed by a life that ends in order; die when the next one is asked to end."""
    service.terminate_with(f"{point}:1")
    trial.sleep(1)
    service.wait_until_ready()
    trial.sleep(1, 3)
    service.terminate()


def _die_when_another_joins(trial: Trial, service: Service, point: str) -> None:
    """Die when the group is assigned anew; the one that joined goes on."""
    service.kill_at(f"{point}:1")
    trial.sleep(1)
    service.wait_until_ready()
    trial.add_service(f"{service.command}-2")


def _die_while_a_range_is_inserted_again(trial: Trial, service: Service, point: str) -> None:
    """Die with a range announced; die again when it is inserted again."""
    ended = len(service.ends)
    service.kill_at("after_insert:2")
    service.wait_for_end(ended + 1)
    service.start(f"{point}:1")


def _die_while_a_rollup_is_filled(trial: Trial, service: Service, point: str) -> None:
    """Empty a rollup while the writer is away; it finds that, and fills it."""
    trial.wait_for(lambda: _partitions_in(trial, _ROLLUP) > 1, f"rows in {_ROLLUP}", 60)
    service.stop()
    trial.clickhouse.command(f"TRUNCATE TABLE {_ROLLUP}")
    service.start(f"{point}:2")


def _partitions_in(trial: Trial, table: str) -> int:
    return int(trial.clickhouse.command(f"SELECT uniqExact(kafka_partition) FROM {table}"))


def _die_while_rows_are_refused(trial: Trial, service: Service, point: str) -> None:
    """Let the table refuse events of one name, and send some."""
    constraint = f"ADD CONSTRAINT no_refused CHECK event != '{_REFUSED}'"
    trial.clickhouse.command(f"ALTER TABLE events {constraint}")
    # The twin must refuse what the table refuses, and its engine takes no ALTER.
    trial.clickhouse.command("DROP TABLE events_refusals SYNC")
    trial.clickhouse.command("CREATE TABLE events_refusals AS events ENGINE = Null")
    trial.refused.add(_REFUSED)
    service.kill_at(f"{point}:1")
    for _ in range(20):
        trial.post(_REFUSED)


_WAYS: tuple[tuple[tuple[str, ...], Callable[[Trial, Service, str], None]], ...] = (
    (_TWICE, _die_while_a_range_is_inserted_again),
    (_ASKED, _die_when_asked_to_end),
    (_REVOKED, _die_when_another_joins),
    (_OF_BEGINNING, _die_at_the_beginning),
    (_FILLING, _die_while_a_rollup_is_filled),
    (_REFUSING, _die_while_rows_are_refused),
)


def _way_to(point: str) -> Callable[[Trial, Service, str], None]:
    return next((way for points, way in _WAYS if point in points), _die_under_load)


def _killed_at(name: str, point: str) -> Play:
    def play(trial: Trial) -> None:
        service = trial.services[name]
        _way_to(point)(trial, service, point)
        trial.wait_for(lambda: service.died_at(point), f"{name} passes {point}", _PASSES_WITHIN_S)
        service.wait_until_ready()
        trial.wait_for_events(200)

    return play


for _service, _points in FAILPOINTS.items():
    for _point in _points:
        scenario(
            f"killed_at_{_service}_{_point.rpartition('.')[2]}",
            about=f"The {_service} is killed at `{_point}`.",
        )(_killed_at(_service, _point))
