"""The end of the suite: minutes of whatever the seed chooses, one thing on top of the other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from tests.faults.load import Volume
from tests.faults.proxy import Insert, Request
from tests.faults.registry import scenario
from tests.faults.services import Service
from tests.faults.trial import SESSION_TIMEOUT_MS, Trial

_LONGER_S = SESSION_TIMEOUT_MS / 1000 + 2
_NAMES = ("serve", "sessionizer", "writer", "sessionizer-2", "writer-2")
_AFTER_TIME = 2.0


def _any_service(trial: Trial) -> Service:
    return trial.services[trial.random.choice(_NAMES)]


def _kill(trial: Trial) -> None:
    _any_service(trial).kill()


def _kill_all(trial: Trial) -> None:
    for service in trial.services.all():
        service.kill()


def _end_in_order(trial: Trial) -> None:
    _any_service(trial).terminate()


def _pause(trial: Trial) -> None:
    service = _any_service(trial)
    service.pause()
    trial.sleep(0.5, _LONGER_S)
    service.resume()


def _kill_kafka(trial: Trial) -> None:
    trial.servers.kill_kafka()
    trial.sleep(0, 5)
    trial.servers.start_kafka()


def _kill_clickhouse(trial: Trial) -> None:
    trial.servers.kill_clickhouse()
    trial.sleep(0, 5)
    trial.servers.start_clickhouse()


def _suspend_kafka(trial: Trial) -> None:
    trial.servers.pause_kafka()
    trial.sleep(1, _LONGER_S)
    trial.servers.resume_kafka()


def _break_a_way(trial: Trial) -> None:
    """Cut off, swallow or slow down one way of one service, for a while."""
    ways = trial.servers.ways[trial.random.choice(_NAMES)]
    way = trial.random.choice((ways.kafka, ways.clickhouse))
    trial.random.choice((way.cut, way.black_hole, way.drop_connections, lambda: way.delay(0.1)))()
    trial.sleep(0.5, _LONGER_S)
    way.heal()


def _lose_answers(trial: Trial) -> None:
    ways = trial.servers.ways[trial.random.choice(_NAMES)]
    kinds = (Request.PRODUCE, Request.END_TXN, Request.OFFSET_COMMIT, Request.TXN_OFFSET_COMMIT)
    ways.kafka.lose_answers(trial.random.choice(kinds), trial.random.randint(1, 3))
    ways.clickhouse.lose_answers(Insert, trial.random.randint(1, 3))


_FAULTS: tuple[tuple[Callable[[Trial], None], int], ...] = (
    (_kill, 8),
    (_kill_all, 1),
    (_end_in_order, 3),
    (_pause, 4),
    (_kill_kafka, 2),
    (_kill_clickhouse, 2),
    (_suspend_kafka, 1),
    (_break_a_way, 5),
    (_lose_answers, 4),
)


@scenario("random", last=True, events=0, services=_NAMES, volume=None)
def random_run(trial: Trial) -> None:
    """Ten minutes and five million events of anything that can go wrong, as the seed chooses."""
    events, seconds = trial.size.events, 60 * trial.size.minutes
    trial.start_load(Volume(per_s=1.1 * events / seconds, http=32, kafka=6, users=20_000))
    faults, weights = zip(*_FAULTS, strict=True)
    done: Counter[str] = Counter()
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds or trial.made < events:
        trial.sleep(1, 10)
        fault = trial.random.choices(faults, weights)[0]
        fault(trial)
        done[fault.__name__.strip("_")] += 1
        if passed > _AFTER_TIME * seconds:
            break
    trial.figures["faults"] = dict(done)
    trial.figures["load_s"] = round(time.monotonic() - began)
