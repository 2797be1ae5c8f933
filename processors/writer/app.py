"""The writer: `accepted`, `sessions` and `rejected` into ClickHouse, every row exactly once.

In: the three topics, read committed, as a member of a consumer group. Out: rows. Never: a decision
about an event: the values are the rows.

`Writer.run` is the whole path: join the group, judge where each assigned partition stands, give it
an owner, and hand fetched records to the owners.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from contracts.groups import writer_group
from contracts.log import Log
from contracts.metrics import BUFFERED_BYTES, Service
from contracts.tables import TABLE_OF_TOPIC
from contracts.topics import Topics
from processors.writer.blocks import Record
from processors.writer.commits import Commits, now_s
from processors.writer.delivery import is_asking
from processors.writer.failures import Failure, failure_of
from processors.writer.measures import Inserts
from processors.writer.owner import Owner
from processors.writer.pacing import BLOCK_BYTES, Turns
from processors.writer.rules import Rules
from processors.writer.standing import FaultError
from processors.writer.standings import read_standings
from processors.writer.storage import Storage
from runtime.cancelling import cancel
from runtime.clickhouse import ClickHouseError
from runtime.failpoints import failpoint, is_stalled
from runtime.kafka.fetched_records import allow_any_header_name, bare
from runtime.logs import set_up_logs
from runtime.monitoring.exposition import expose
from runtime.monitoring.measures import Sample
from runtime.monitoring.progress import Progress
from runtime.monitoring.watchdog import Watchdog
from runtime.ready import announce_ready
from runtime.settings import Settings
from runtime.startup import StartupError, is_only_away, require_log

_EXIT_INTERNAL = 70
_EXIT_CONFIGURATION = 78

STALL_POINT = "writer.fetch"
"""Where a test lets fetching stop without a word."""

FAILPOINTS = ("before_standings", "after_standings", "before_give_up", "after_give_up")
"""Where a test kills the writer at the beginning and the end of an assignment."""

# All owners' buffers together; one partition alone may always hold a block.
_BUFFERED_BYTES = 4 * BLOCK_BYTES
_FETCHED_RECORDS = 20_000
_FETCHED_BYTES_PER_PARTITION = 2 * 1024 * 1024
_FETCH_WAIT_MS = 50
_GIVE_UP_S = 5.0
_PROGRESS_S = 10.0

_REFUSED = (
    "ClickHouse refuses the writer: {}. Check the user in TRACK_CLICKHOUSE and what it may do."
)

log = logging.getLogger(__name__)


def run(settings: Settings) -> NoReturn:
    """Write until SIGTERM or SIGINT, and end the process.

    Its exit code is 0 after a signal, 70 after an error that a restart may cure, 78 where settings,
    log and tables do not fit together; the reason is on stderr.
    """
    set_up_logs("writer")
    # Records come and go by the ten thousand: looking for cycles among them took a tenth of the
    # time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    code = asyncio.run(_run(settings))
    # A thread may still wait for ClickHouse, and Python would wait for it. What it inserts was
    # announced, so it may be left alone.
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    try:
        log_of_kafka = await require_log(settings, clickhouse="if_reachable")
        writer = Writer(settings, log_of_kafka)
        watchdog = Watchdog(settings, Service.WRITER, len(TABLE_OF_TOPIC), writer.progress)
        expose(settings, Service.WRITER, writer.samples, watchdog.samples)
        watchdog.start()
        await writer.run(stop)
    except (StartupError, FaultError) as error:
        print(error, file=sys.stderr, flush=True)
        away = isinstance(error, StartupError) and is_only_away(error)
        return _EXIT_INTERNAL if away else _EXIT_CONFIGURATION
    except Exception as error:  # the outermost loop: say it and end
        if isinstance(error, ClickHouseError) and failure_of(error) is Failure.BROKEN:
            print(_REFUSED.format(error), file=sys.stderr, flush=True)
            return _EXIT_CONFIGURATION
        log.critical("the writer ends: %s", error, exc_info=not isinstance(error, KafkaError))
        return _EXIT_INTERNAL
    return 0


class Writer:
    """One member of the group; its partitions change with the group."""

    def __init__(self, settings: Settings, log_of_kafka: Log) -> None:
        self._settings = settings
        self._log = log_of_kafka
        topics = Topics.of(settings.namespace)
        kept = {
            "accepted": settings.events_days,
            "sessions": settings.sessions_days,
            "rejected": settings.rejected_days,
        }
        self._rules = {
            getattr(topics, field): Rules(
                log_id=log_of_kafka.id,
                base=base,
                kept_days=kept[field],
                inserts_per_second=settings.inserts_per_second,
                session_s=settings.session_timeout_ms / 1000,
            )
            for field, base in TABLE_OF_TOPIC.items()
        }
        self._group = writer_group(settings.namespace)
        allow_any_header_name()
        self._consumer = AIOKafkaConsumer(
            **settings.kafka_servers.client_arguments(),
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 3,
            # A partition that waits for ClickHouse is not fetched; heartbeats tell of its life.
            max_poll_interval_ms=7 * 86_400_000,
            rebalance_timeout_ms=max(settings.session_timeout_ms, 2 * int(1000 * _GIVE_UP_S)),
            max_partition_fetch_bytes=_FETCHED_BYTES_PER_PARTITION,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            value_deserializer=bare,
        )
        self._storage = Storage(settings)
        self._turns = Turns(now_s)
        self._inserts = {topic: Inserts(rules.base) for topic, rules in self._rules.items()}
        self._owners: dict[TopicPartition, Owner] = {}
        self._assigned: Sequence[TopicPartition] = ()
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._beginning: asyncio.Task[None] | None = None
        self._commits: Commits | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set.

        Raises:
            FaultError, StartupError: tables, log and offsets do not belong together.
            Exception: anything else that ended an owner.
        """
        await self._consumer.start()
        watch = asyncio.create_task(self._log_progress())
        fetch = asyncio.create_task(self._fetch())
        stopped = asyncio.create_task(stop.wait())
        try:
            self._consumer.subscribe(list(self._rules), listener=_Listener(self))
            ends: list[asyncio.Future[Any]] = [fetch, stopped, self._failed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            if fetch.done():
                fetch.result()
        finally:
            stopped.cancel()
            watch.cancel()
            fetch.cancel()
            await asyncio.wait([fetch, watch, stopped])
            await self.give_up()
            await self._consumer.stop()
            self._storage.close()

    # --- the group --------------------------------------------------------------------------------

    async def give_up(self) -> None:
        """Let go of all partitions: end what is under way, or leave it to its intent.

        It must be done before the group goes on: a commit of ours would overwrite the successor's.
        """
        failpoint("before_give_up")
        if self._beginning is not None:
            await cancel(self._beginning)
        for owner in self._owners.values():
            owner.stop()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GIVE_UP_S)
            if late:
                log.warning("%d partitions were given up during an insert", len(late))
                await asyncio.gather(*map(cancel, late))
        if self._commits is not None:
            await self._commits.close()
        self._assigned = ()
        self._owners.clear()
        self._tasks.clear()
        failpoint("after_give_up")

    def begin(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin with partitions newly assigned, without keeping the group waiting."""
        partitions = self._assigned = sorted(assigned)
        for where in partitions:
            # A position of ours, so that none is looked for; nothing is fetched until an owner is.
            self._consumer.seek(where, 0)
            self._consumer.pause(where)
        self._commits = Commits(self._consumer)
        self._beginning = asyncio.create_task(self._begin(partitions, self._commits))
        self._beginning.add_done_callback(self._note_end)

    async def _begin(self, partitions: list[TopicPartition], commits: Commits) -> None:
        failpoint("before_standings")
        standings = await read_standings(
            partitions,
            servers=self._settings.kafka_servers,
            group=self._group,
            consumer=self._consumer,
            storage=self._storage,
            tables={topic: rules.base for topic, rules in self._rules.items()},
            log_of_kafka=self._log,
        )
        failpoint("after_standings")
        for where, standing in standings.items():
            rules = self._rules[where.topic]
            owner = Owner(
                where,
                rules,
                standing,
                self._storage,
                commits,
                turns=self._turns,
                inserts=self._inserts[where.topic],
            )
            self._consumer.seek(where, owner.begins_at)
            self._consumer.resume(where)
            self._owners[where] = owner
            task = asyncio.create_task(owner.run())
            task.add_done_callback(self._note_end)
            self._tasks[where] = task
        log.info("owner of %d partitions", len(partitions))
        for owner in list(self._owners.values()):
            await owner.settled.wait()
        announce_ready()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Let the error of a task end the writer."""
        if task.cancelled() or task.exception() is None or self._failed.done():
            return
        self._failed.set_exception(task.exception() or RuntimeError())

    # --- fetching ---------------------------------------------------------------------------------

    async def _fetch(self) -> None:
        """Hand fetched records to the owners, for ever; what none wants stays in the consumer."""
        while True:
            wanted = self._wanted()
            if not wanted or is_stalled(STALL_POINT):
                await asyncio.sleep(_FETCH_WAIT_MS / 1000)
                continue
            fetched = await self._consumer.getmany(
                *wanted, timeout_ms=_FETCH_WAIT_MS, max_records=_FETCHED_RECORDS
            )
            for where in wanted:
                owner = self._owners.get(where)
                if owner is not None:
                    await self._hand_over(owner, fetched.get(where, ()))

    async def _hand_over(self, owner: Owner, records: Sequence[Record]) -> None:
        """Give an owner its records, and where the consumer stands after them.

        Nothing is awaited for real here: records and position belong to the same moment.
        """
        position = await self._consumer.position(owner.where)
        log_end = self._consumer.last_stable_offset(owner.where)
        if records or position != owner.position:
            owner.take(records, position, log_end)

    def _wanted(self) -> list[TopicPartition]:
        room = sum(owner.buffer.bytes for owner in self._owners.values()) < _BUFFERED_BYTES
        return [where for where, owner in self._owners.items() if owner.wants(room=room)]

    # --- for who watches --------------------------------------------------------------------------

    def progress(self) -> list[Progress]:
        """Tell how far each partition is."""
        owners = dict(self._owners)
        busy = any(is_asking(owner.asking_since, now_s()) for owner in owners.values())
        return [_progress_of(where, owners.get(where), busy=busy) for where in self._assigned]

    def samples(self) -> Iterator[Sample]:
        """Give the numbers for Prometheus."""
        for inserts in self._inserts.values():
            yield from inserts.samples()
        buffered = sum(owner.buffer.bytes for owner in list(self._owners.values()))
        yield BUFFERED_BYTES, (), buffered

    async def _log_progress(self) -> None:
        """Say every ten seconds what was written, where anything was."""
        while True:
            began = now_s()
            before = self._rows_written
            await asyncio.sleep(_PROGRESS_S)
            rows = self._rows_written - before
            lag = sum(owner.lag for owner in self._owners.values())
            if rows > 0 or lag > 0:
                log.info("%.0f rows/s, %d offsets behind", rows / (now_s() - began), lag)

    @property
    def _rows_written(self) -> int:
        return sum(owner.rows_written for owner in self._owners.values())


def _progress_of(where: TopicPartition, owner: Owner | None, *, busy: bool) -> Progress:
    """Tell how far a partition is; `busy`: somebody waits for an answer of ClickHouse."""
    if owner is None or not owner.settled.is_set():
        return Progress(where, None, waits=True)
    waits = is_asking(owner.asking_since, now_s()) or (busy and owner.waits_for_turn)
    return Progress(where, owner.next, waits)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Tells the writer of each change of the group; an error here would only be logged."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let go of everything: the group is assigned anew as a whole."""
        await self._writer.give_up()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin with what was assigned."""
        self._writer.begin(assigned)
