"""The sessionizer's process: `track.events` to accepted events, sessions and rejections.

In: the settings. Out: a running worker. The path of a record, in reading order: `stream` fetches it
with Faust, `owner` commits it in a transaction, `partition` decides what becomes of it, `pairing`
makes sessions, `transactions` writes. `restore` begins it all again after a crash.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import tempfile
from typing import NoReturn

from contracts.groups import sessionizer_group
from contracts.metrics import Service
from contracts.topics import Partitioner, Topics
from processors.sessionizer.owner import Work
from processors.sessionizer.owners import Owners
from processors.sessionizer.pairing import PairingRules
from processors.sessionizer.partition import Pipeline
from processors.sessionizer.stream import Stream
from runtime.kafka.fetched_records import allow_any_header_name
from runtime.logs import set_up_logs
from runtime.monitoring.exposition import expose
from runtime.monitoring.watchdog import Watchdog
from runtime.settings import Settings, SettingsError
from runtime.startup import require_log

log = logging.getLogger(__name__)

EXIT_FAILED = 70


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT.

    Raises:
        SettingsError: the interpreter's hash is not keyed at random.
        StartupError: the log id is missing or differs, or a topic has wrong settings.
    """
    if os.environ.get("PYTHONHASHSEED", "random") != "random":
        raise SettingsError(
            "PYTHONHASHSEED is fixed; ids are remembered by the interpreter's hash, which must be "
            "keyed at random, so that nobody can make two collide. Unset it."
        )
    set_up_logs("sessionizer")
    pipeline_log = asyncio.run(require_log(settings))
    topics = Topics.of(settings.namespace)
    group = sessionizer_group(settings.namespace)
    stream = Stream(
        group=group,
        servers=settings.kafka_servers,
        topic=topics.events,
        session_timeout_s=settings.session_timeout_ms / 1000,
        datadir=tempfile.gettempdir(),
        fail=_fail,
    )
    pipeline = Pipeline(
        log_id=pipeline_log.id,
        topic=topics.events,
        partitioner=Partitioner(pipeline_log.partitions),
        rules=PairingRules(
            opens=pipeline_log.opens,
            closes=pipeline_log.closes,
            waiting_stop_ms=settings.waiting_stop_ms,
            open_play_ms=settings.open_play_ms,
        ),
        duplicate_window=settings.duplicate_window,
    )
    work = Work(settings.kafka_servers, group, topics, pipeline, stream.hold, stream.release, _fail)
    allow_any_header_name()
    owners = Owners(work)
    watchdog = Watchdog(settings, Service.SESSIONIZER, 1, owners.progress, lambda: owners.joining)
    expose(settings, Service.SESSIONIZER, owners.samples, watchdog.samples)
    watchdog.start()
    _spare_the_garbage_collector()
    stream.run(owners)


def _spare_the_garbage_collector() -> None:
    """Collect seldom: records and rows make no cycles, and looking for some costs a tenth."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _fail(why: str) -> NoReturn:
    """End the process at once: whoever started it starts it again, from the committed state."""
    log.critical("%s", why)
    logging.shutdown()
    os._exit(EXIT_FAILED)
