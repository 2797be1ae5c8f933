"""The codes are ClickHouse's own, and each kind of trouble is of the right kind."""

from __future__ import annotations

import pytest

from processors.writer import failures
from processors.writer.failures import Failure, failure_of
from processors.writer.storage import LINES
from runtime.clickhouse import ClickHouseError, connect_sync
from runtime.settings import Settings


def test_codes_and_names_are_those_of_the_server(settings: Settings) -> None:
    client = connect_sync(settings, database="default")
    for code, name in {**failures.TRANSIENT, **failures.BROKEN}.items():
        assert client.query(f"SELECT errorCodeToName({code})").result_rows == [(name,)]
    client.close()


@pytest.mark.parametrize(
    ("statement", "data", "kind"),
    [
        ("INSERT INTO nowhere FORMAT JSONEachRow", b'{"a":1}', Failure.BROKEN),
        (
            "INSERT INTO FUNCTION null('a UInt8') FORMAT JSONEachRow",
            b'{"a":"x"}',
            Failure.REFUSED,
        ),
        ("INSERT INTO FUNCTION null('a UInt8') FORMAT JSONEachRow", b'{"a":1', Failure.REFUSED),
        ("INSERT INTO FUNCTION null('a UInt8') FORMAT JSONEachRow", b'{"b":1}', Failure.REFUSED),
        (
            "INSERT INTO FUNCTION null('a JSON') FORMAT JSONEachRow",
            b'{"a":{"n":1e400}}',
            Failure.REFUSED,
        ),
    ],
)
def test_errors_of_a_server(settings: Settings, statement: str, data: bytes, kind: Failure) -> None:
    client = connect_sync(settings, database="default")
    with pytest.raises(ClickHouseError) as caught:
        client.command(statement, data=data, settings=dict(LINES))
    client.close()
    assert failure_of(caught.value) is kind


def test_a_server_that_is_away_is_transient(settings: Settings) -> None:
    nobody = Settings(clickhouse="http://a:b@127.0.0.1:1", namespace=settings.namespace)
    with pytest.raises(ClickHouseError) as caught:
        connect_sync(nobody)
    assert failure_of(caught.value) is Failure.TRANSIENT
