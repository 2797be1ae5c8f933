"""The footer of a Parquet file: ClickHouse's is read, and no bytes make the reader fail."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.parquet.footer import MAGIC, count_rows
from tests.cli.parquet.events import Tables

KINDS = """
SELECT number AS a, [number, 1] AS b, map('x', toString(number)) AS c, (1, 'two') AS d,
    toDateTime64(number, 3, 'UTC') AS e, number / 7 AS f, number % 2 = 0 AS g,
    toLowCardinality('x') AS h, if(number % 3 = 0, NULL, number) AS i
FROM numbers({rows:UInt64})
"""


def with_tail(footer: bytes) -> io.BytesIO:
    return io.BytesIO(MAGIC + b"data" + footer + len(footer).to_bytes(4, "little") + MAGIC)


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 8192, 300_001])
def test_the_rows_of_clickhouses_files_are_counted(tables: Tables, rows: int) -> None:
    written = tables.clickhouse.raw_query(KINDS, parameters={"rows": rows}, fmt="Parquet")
    assert count_rows(io.BytesIO(written)) == rows


@given(st.binary(max_size=200))
def test_any_footer_gives_a_number_or_a_refusal(footer: bytes) -> None:
    with suppress(ValueError):
        assert count_rows(with_tail(footer)) >= 0


@given(st.binary(max_size=40))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="Parquet"):
        count_rows(io.BytesIO(data))


@pytest.mark.parametrize(
    "footer",
    [
        b"\x1c" * 5000,  # structs without end
        b"\x19\xfc\xff\xff\xff\xff\xff\xff\xff\x7f",  # a list of 2^62 structs
        b"\x19\xf1\xff\xff\xff\xff\xff\xff\xff\x7f",  # a list of 2^62 truth values
        b"\x18\xff\xff\xff\xff\xff\xff\xff\x7f",  # a text of 2^62 bytes
        b"\x15" + b"\xff" * 5000,  # a number without end
        b"\x36\x01",  # -1 rows
        b"\x35\x02",  # rows as a number of 32 bits
        b"",
    ],
)
def test_a_footer_that_promises_too_much_is_refused_at_once(footer: bytes) -> None:
    with pytest.raises(ValueError, match="names no number of rows"):
        count_rows(with_tail(footer))


@settings(suppress_health_check=list(HealthCheck), max_examples=300)
@given(st.data())
def test_a_changed_file_is_counted_or_refused(data: st.DataObject) -> None:
    content = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        assert count_rows(io.BytesIO(content)) >= 0


SAMPLE = (Path(__file__).parent / "sample.parquet").read_bytes()
