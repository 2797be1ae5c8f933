"""A server that fails while a command is at work: one sentence, and what to do.

In: what is said of going on. Out: an error for the command line. Never: a failure passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from urllib3.exceptions import HTTPError

from runtime.clickhouse import ClickHouseError
from runtime.kafka.admin import KafkaError
from runtime.startup import ServerAwayError


@contextmanager
def told_what_then(advice: str) -> Iterator[None]:
    """Turn what a server answers in the middle into a sentence that ends with the advice.

    Raises:
        ServerAwayError: Kafka or ClickHouse failed.
    """
    try:
        yield
    except (KafkaError, ClickHouseError, HTTPError, TimeoutError) as error:
        raise ServerAwayError(
            f"A server failed in the middle ({str(error) or type(error).__name__}); {advice}"
        ) from error
