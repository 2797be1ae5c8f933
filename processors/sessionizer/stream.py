"""The one module that knows Faust: membership, assignment, fetching and scheduling.

In: `track.events`, read with read_committed. Out: micro-batches to the owners, one a fetch and
partition, each with the offset that it follows on. Never: an acknowledgement, a commit, a table;
why, and what stock Faust would do, stands in docs/decisions/faust.md.

Everything here goes through Faust's own seams: the setting `ConsumerScheduler`, the application's
`transport`, the streams' `noack`, the consumer's `on_buffer_full` and `on_buffer_drop`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NoReturn

import faust
import faust.streams
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import SchedulingStrategyT

from processors.sessionizer.owner import MAX_RECORDS, MicroBatch
from processors.sessionizer.owners import Owners
from runtime.failpoints import is_stalled
from runtime.kafka.fetched_records import bare
from runtime.kafka.refusals import explain_failure
from runtime.kafka.servers import MECHANISM, PLAINTEXT, SASL_SSL, KafkaServers

log = logging.getLogger(__name__)

STALL_POINT = "sessionizer.hand_out"
"""Where a test lets fetching stop without a word."""

_STREAM_BUFFER = 4  # micro-batches between Faust's fetcher and the agent
_STOP_WITHIN_S = 8.0  # Faust can hang at SIGTERM; state is safe, so the process ends then
_NEVER_S = 1e6
_FETCH_WAIT_MS = 25
_FETCH_MIN_BYTES = 64 * 1024
_RESTORE_WITHIN_S = 300.0  # bounds seek_to_committed, which waits for the restore
_ANSWER_WITHIN_MS = 90_000  # of Kafka; joining the group takes a minute, if a member is slow


class Stream:
    """Faust's side of the sessionizer: one application with one agent over one topic."""

    def __init__(
        self,
        *,
        group: str,
        servers: KafkaServers,
        topic: str,
        session_timeout_s: float,
        datadir: str,
        fail: Callable[[str], NoReturn],
    ) -> None:
        if faust.streams._CStreamIterator is None:
            # The pure-Python iterator acknowledges events of an old generation that it skips.
            raise RuntimeError("Faust is installed without its compiled stream iterator.")
        self._servers = servers
        self._fail = fail
        self._owners: Owners  # given when the work begins
        self._topic = topic
        self._fetched: dict[TP, int] = {}
        self._app = self._build_app(group, servers, session_timeout_s, datadir)
        self._app.transport = self._build_transport()
        self._connect()

    def run(self, owners: Owners) -> None:
        """Work until SIGTERM or SIGINT."""
        self._owners = owners
        worker = _Worker(
            self._app, loglevel=None, quiet=True, redirect_stdouts=False, override_logging=False
        )
        worker.spinner = None  # it would write cursor controls into the log
        worker.kafka_is_away = self._kafka_is_away
        worker.execute_from_commandline()

    async def _kafka_is_away(self, error: KafkaError) -> NoReturn:
        self._fail(await explain_failure(self._servers, error))

    def hold(self, partition: int) -> None:
        """Fetch no more of a partition; what a fetch under way brings still comes."""
        self._app.consumer.on_buffer_full(TP(self._topic, partition))

    def release(self, partition: int) -> None:
        """Fetch a partition again."""
        self._app.consumer.on_buffer_drop(TP(self._topic, partition))

    def _build_app(
        self, group: str, servers: KafkaServers, session_timeout_s: float, datadir: str
    ) -> faust.App:
        return faust.App(
            group,
            broker=[f"kafka://{server}" for server in servers.addresses.split(",")],
            broker_credentials=_credentials(servers),
            ConsumerScheduler=self._build_scheduler(),
            datadir=datadir,
            web_enabled=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            stream_buffer_maxsize=_STREAM_BUFFER,
            stream_wait_empty=False,
            broker_max_poll_records=MAX_RECORDS,
            broker_session_timeout=session_timeout_s,
            broker_heartbeat_interval=session_timeout_s / 3,
            broker_request_timeout=_RESTORE_WITHIN_S,
            broker_commit_every=10**12,
            broker_commit_interval=_NEVER_S,
            consumer_auto_offset_reset="earliest",
        )

    def _build_scheduler(self) -> type[SchedulingStrategyT]:
        fetched = self._fetched

        class MicroBatches(SchedulingStrategyT):  # type: ignore[misc]
            """Deals out one record-like object a partition and fetch."""

            def iterate(self, records: Mapping[TP, Any]) -> Iterator[tuple[TP, _Carrier]]:
                carriers: list[tuple[TP, _Carrier]] = []
                if records and is_stalled(STALL_POINT):
                    return iter(carriers)
                for key, batch in records.items():
                    if batch:
                        tp = TP(key.topic, key.partition)
                        before = fetched.get(tp, batch[0].offset - 1)
                        carriers.append((tp, _Carrier(tp, MicroBatch(batch, before))))
                        fetched[tp] = batch[-1].offset
                return iter(carriers)

        return MicroBatches

    def _build_transport(self) -> driver.Transport:
        stream = self

        class ReadCommitted(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
            def _create_worker_consumer(self, transport: Any) -> Any:
                consumer = super()._create_worker_consumer(transport)
                consumer._isolation_level = "read_committed"
                consumer._value_deserializer = bare
                consumer._client._request_timeout_ms = _ANSWER_WITHIN_MS
                # The broker gathers small records for a moment: a fetch for every two of them
                # costs half a core at 2,000 a second. Not longer: a partition whose records are
                # being handed out is left out of the fetch under way, and waits for it to end.
                consumer._fetch_min_bytes = _FETCH_MIN_BYTES
                consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
                return consumer

            async def getmany(  # its name and parameters are those of Faust
                self,
                active_partitions: set[TP] | None,
                timeout: float,  # noqa: ASYNC109
            ) -> Any:
                """Wait shortly: a partition that is released meanwhile is not waited for."""
                return await super().getmany(active_partitions, min(timeout, _FETCH_WAIT_MS / 1000))

        class Consumer(driver.Consumer):  # type: ignore[misc]
            def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
                return ReadCommitted(self, loop=self.loop, beacon=self.beacon)

            async def seek_to_committed(self) -> Mapping[TP, int]:
                """Faust calls it after an assignment and whenever its flow was stopped."""
                return await stream._seek(self)

        class Transport(driver.Transport):  # type: ignore[misc]
            pass

        Transport.Consumer = Consumer
        return Transport(self._app.conf.broker_consumer, self._app, loop=self._app.loop)

    async def _seek(self, consumer: Any) -> Mapping[TP, int]:
        """Put the consumer where the owners' state says: the one place where reading begins."""
        begun = await self._owners.begin()
        offsets = {TP(self._topic, partition): offset for partition, offset in begun.items()}
        for tp, offset in offsets.items():
            await consumer._seek(tp, offset)
            self._fetched[tp] = offset - 1
        return offsets

    def _connect(self) -> None:
        app = self._app
        # Without `acks=False` Faust would keep every gap between the last offsets of micro-batches
        # in an interval tree, for ever, and merge it at each: half a core within a minute.
        events = app.topic(self._topic, key_serializer="raw", value_serializer="raw", acks=False)

        @app.agent(events, concurrency=1)  # type: ignore[untyped-decorator]
        async def sessionize(stream: Any) -> None:
            async for event in stream.noack().events():
                self._owners.take(event.message.partition, event.value)

        @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
        async def revoked(_app: Any, _partitions: set[TP], **_: Any) -> None:
            await self._owners.revoke()

        @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
        async def assigned(_app: Any, partitions: set[TP], **_: Any) -> None:
            ours = [tp.partition for tp in partitions if tp.topic == self._topic]
            log.info("Assigned partitions: %s", sorted(ours) or "none")
            self._owners.assign(ours)

        @app.task  # type: ignore[untyped-decorator]
        async def report() -> None:
            await self._owners.report()


def _credentials(servers: KafkaServers) -> Any:
    """Return what Faust enters Kafka with; None for a plain connection."""
    if servers.security == SASL_SSL:
        return faust.SASLCredentials(
            username=servers.user,
            password=servers.password,
            ssl_context=servers.ssl_context,
            mechanism=MECHANISM,
        )
    return None if servers.security == PLAINTEXT else faust.SSLCredentials(servers.ssl_context)


class _Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, which ends in time: at a signal it leaves the group, or the process ends.

    Where Kafka goes away between the service's own check and Faust's first connection, it says so.
    """

    kafka_is_away: Callable[[KafkaError], Awaitable[NoReturn]]

    async def start(self) -> None:
        try:
            await super().start()
        except KafkaError as error:
            await self.kafka_is_away(error)

    def _flag_as_shutdown_by_signal(self) -> None:
        timer = threading.Timer(_STOP_WITHIN_S, os._exit, (0,))
        timer.daemon = True
        timer.start()
        super()._flag_as_shutdown_by_signal()


class _Carrier:
    """A micro-batch shaped like a record, so that Faust carries it; its offset is the last one."""

    __slots__ = (
        "checksum",
        "headers",
        "key",
        "offset",
        "partition",
        "serialized_key_size",
        "serialized_value_size",
        "timestamp",
        "timestamp_type",
        "topic",
        "value",
    )

    def __init__(self, tp: TP, batch: MicroBatch) -> None:
        last = batch.records[-1]
        self.topic, self.partition, self.offset = tp.topic, tp.partition, last.offset
        self.timestamp, self.timestamp_type, self.headers = last.timestamp, 1, ()
        self.key = self.checksum = None
        self.serialized_key_size = self.serialized_value_size = 0
        self.value = batch
