from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.timestamps import format_timestamp, parse_timestamp

GOOD = {
    "2025-01-18T14:30:00Z": 1737210600000,
    "2025-01-18T14:30:00.5Z": 1737210600500,
    "2025-01-18T14:30:00.123456789Z": 1737210600123,
    "2025-01-18T14:30:00.9999999Z": 1737210600999,
    "2025-01-18T15:30:00+01:00": 1737210600000,
    "2025-01-18T14:30:00-00:00": 1737210600000,
    "1970-01-01T00:00:00Z": 0,
    "1969-12-31T23:30:00-01:00": 1800000,
    "9999-12-31T23:59:59.999-23:59": 253402387139999,
    "2024-02-29T00:00:00Z": 1709164800000,
}
BAD = [
    "",
    "2025-01-18",
    "2025-01-18 14:30:00Z",
    "2025-01-18T14:30:00",
    "2025-01-18t14:30:00z",
    "2025-01-18T14:30:60Z",
    "2025-01-18T24:00:00Z",
    "2025-01-18T14:60:00Z",
    "2025-02-29T00:00:00Z",
    "2025-13-01T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00+00:01",
    "2025-01-18T14:30:00.Z",
    "2025-01-18T14:30:00,5Z",
    "2025-01-18T14:30:00+0100",
    "2025-01-18T14:30:00+24:00",
    "20250118T143000Z",
    "2025-01-18T14:30Z",
    "2025-W03-6T14:30:00Z",
    "٢٠٢٥-01-18T14:30:00Z",
    "2025-01-18T14:30:0\u0660Z",
    "2025-01-18T14:30:00Z\n",
    " 2025-01-18T14:30:00Z",
    "0000-01-01T00:00:00Z",
    "2025-01-18T14:30:00." + "1" * 50 + "Z",
    "now",
    "1737210600",
]


@pytest.mark.parametrize(("text", "milliseconds"), GOOD.items())
def test_what_is_taken(text: str, milliseconds: int) -> None:
    assert parse_timestamp(text) == milliseconds
    assert parse_timestamp(text) == milliseconds, "a second time, when its minute is remembered"


@pytest.mark.parametrize("text", BAD)
def test_what_is_not(text: str) -> None:
    parse_timestamp("2025-01-18T14:30:00Z")
    assert parse_timestamp(text) is None


FIRST = datetime(1970, 1, 1)  # noqa: DTZ001  (hypothesis wants them naive)
LAST = datetime(9999, 12, 31)  # noqa: DTZ001


@given(st.datetimes(min_value=FIRST, max_value=LAST))
def test_there_and_back(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    milliseconds = (moment - FIRST) // timedelta(milliseconds=1)  # without the rounding of floats
    assert parse_timestamp(at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)) == milliseconds
    assert parse_timestamp(format_timestamp(milliseconds)) == milliseconds
