"""The rejections of a pipeline, opened: a server that does not answer becomes a sentence.

In: settings. Out: the rejections, or one of them with the marks of what was replayed. Never: a
change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.rejected.rejection import Rejection
from cli.rejected.replay import Marks, read_marks
from cli.rejected.store import Rejections
from contracts.replays import Place
from runtime.clickhouse import ClickHouseError, connect
from runtime.kafka.admin import KafkaError
from runtime.kafka.refusals import explain_failure
from runtime.settings import Settings
from runtime.startup import ServerAwayError, StartupError

NOT_KEPT = "is not kept: there is no such rejection, or its days are over (TRACK_REJECTED_DAYS)"


@asynccontextmanager
async def open_rejections(settings: Settings) -> AsyncIterator[Rejections]:
    """Give the rejections of the pipeline.

    Raises:
        StartupError: ClickHouse does not answer, or Kafka, if it is asked meanwhile.
    """
    try:
        client = await connect(settings)
        try:
            yield Rejections(client, settings.namespace)
        finally:
            await client.close()
    except (KafkaError, TimeoutError) as error:
        raise StartupError(await explain_failure(settings.kafka_servers, error)) from error
    except ClickHouseError as error:
        raise ServerAwayError(
            f"ClickHouse does not answer: {error}. Start it, or name another one with "
            "TRACK_CLICKHOUSE."
        ) from error


async def find_with_marks(settings: Settings, place: Place) -> tuple[Rejection, Marks]:
    """Return a rejection, and what has been replayed.

    Raises:
        StartupError: a server does not answer, or it is not kept.
    """
    async with open_rejections(settings) as rejections:
        return await require(rejections, place), await read_marks(settings)


async def require(rejections: Rejections, place: Place) -> Rejection:
    """Return a rejection.

    Raises:
        StartupError: it is not kept.
    """
    rejection = await rejections.find(place)
    if rejection is None:
        raise StartupError(f"{place} {NOT_KEPT}.")
    return rejection
