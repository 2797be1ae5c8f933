"""Times as people write them and as we count them: RFC 3339 text and milliseconds since 1970, UTC.

In: a text, or a number of milliseconds. Out: the other one. Never: a clock.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

MAX_TIMESTAMP_LENGTH = 64
DAY_MS = 86_400_000

_RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])"
    r"(?:\.([0-9]+))?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

# A new text takes two look-ups, the text up to the second and what is left; or three, up to the
# minute, where the second is new. A look-up refuses whatever is not exactly a key.
_SECONDS = {f"{second:02}": second * 1000 for second in range(60)}
_TAILS = {"Z": 0} | {f".{millisecond:03}Z": millisecond for millisecond in range(1000)}
_KEPT_MINUTES = 20_000
_KEPT_SECONDS = 100_000
_minutes: dict[str, int] = {}
_seen_seconds: dict[str, int] = {}
# Validation and admission parse the text of an event one after the other: the second is answered
# with what the first has found.
_latest: list[tuple[str, int | None]] = [("", None)]


def parse_timestamp(text: str) -> int | None:
    """Return the milliseconds since 1970 of an RFC 3339 date-time, or None if it is not one.

    `T`, seconds 00 to 59, `Z` or an offset, not before 1970, at most 64 characters; digits beyond
    milliseconds are cut off.
    """
    latest, found = _latest[0]
    if latest is text:
        return found
    at, tail = _seen_seconds.get(text[:19]), _TAILS.get(text[19:])
    found = _parse_new(text) if at is None or tail is None else at + tail
    _latest[0] = (text, found)
    return found


def format_timestamp(milliseconds: int) -> str:
    """Return the RFC 3339 text of a time from 1970 to 9999, with milliseconds where there are any.

    >>> format_timestamp(1737201600000)
    '2025-01-18T12:00:00Z'
    """
    seconds, rest = divmod(milliseconds, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z" if rest else f"{text}Z"


def _parse_new(text: str) -> int | None:
    """Parse a text whose second has not been seen."""
    minute, second, tail = _minutes.get(text[:17]), _SECONDS.get(text[17:19]), _TAILS.get(text[19:])
    if minute is None or second is None or tail is None:
        return _parse(text)
    if len(_seen_seconds) >= _KEPT_SECONDS:
        _seen_seconds.clear()
    _seen_seconds[text[:19]] = minute + second
    return minute + second + tail


def _parse(text: str) -> int | None:
    match = _RFC_3339.fullmatch(text) if len(text) <= MAX_TIMESTAMP_LENGTH else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return None
    at = days * DAY_MS + int(hour) * 3_600_000 + int(minute) * 60_000
    if sign is None and at >= 0:
        if len(_minutes) >= _KEPT_MINUTES:
            _minutes.clear()
        _minutes[text[:17]] = at
    else:
        shift = int(off_hours or 0) * 3_600_000 + int(off_minutes or 0) * 60_000
        at += shift if sign == "-" else -shift
    at += int(second) * 1000 + int((fraction or "")[:3].ljust(3, "0"))
    return at if at >= 0 else None
