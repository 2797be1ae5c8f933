"""What ClickHouse says against a statement, as one clear sentence.

In: an error of clickhouse-connect. Out: what was wrong, in ClickHouse's words without its codes and
lists, and what to do where that can be known. Never: a traceback, an address, a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from clickhouse_connect.driver.exceptions import Error

from runtime.clickhouse import ClickHouseError

_SAID = re.compile(
    r"DB::Exception: (?P<said>.*?)(?: \((?P<name>[A-Z][A-Z0-9_]+)\))?(?: \(version|$)", re.DOTALL
)
# Lists of everything that could have been written, and where in ClickHouse it was noticed.
_NOISE = re.compile(
    r"\.? Expected (?:one of: |).*|: while (?:executing|converting|reading|processing) .*"
    r"|: \(while .*|\.? In scope .*|, query: .*",
    re.DOTALL,
)  # fmt: skip
# The name of the user before the words, and the address behind them.
_USER = re.compile(r"^\w+: (?=[A-Z])")
_ADDRESS = re.compile(r" \(for url [^)]*\)")
# Of an error of the connection, what the operating system has said.
_REASON = re.compile(
    r"(?:\[Errno -?\d+\] |: )((?:Connection|Name|No route|Network|Read timed)[\w ]+)"
)
_LONGEST = 400
_NARROWER = "Ask for a shorter period or fewer columns"
_ADVICE: Mapping[str, str] = {
    "TIMEOUT_EXCEEDED": f"{_NARROWER}; TRACK_ANALYST_SECONDS is the limit.",
    "TOO_SLOW": f"{_NARROWER}; TRACK_ANALYST_SECONDS is the limit.",
    "MEMORY_LIMIT_EXCEEDED": f"{_NARROWER}; TRACK_ANALYST_MEMORY_BYTES is the limit.",
    "TOO_MANY_ROWS": f"{_NARROWER}; TRACK_ANALYST_ROWS_READ is the limit.",
    "TOO_MANY_ROWS_OR_BYTES": "Add a LIMIT or a GROUP BY; TRACK_ANALYST_ROWS is the limit.",
    "TOO_MANY_SIMULTANEOUS_QUERIES": "Wait for an answer; TRACK_ANALYST_QUESTIONS is the limit.",
    "QUOTA_EXCEEDED": "Wait for the next hour; TRACK_ANALYST_HOUR_SECONDS and those beside it are "
    "the limits.",
    "ACCESS_DENIED": "The analyst reads this database and changes nothing.",
    "READONLY": "The analyst reads this database and changes nothing.",
    "UNKNOWN_TABLE": "SHOW TABLES lists what there is.",
    "UNKNOWN_IDENTIFIER": "DESCRIBE TABLE lists the columns of one.",
}


def is_refusal(error: ClickHouseError) -> bool:
    """Tell whether a server has said something against it, rather than nothing at all."""
    return _SAID.search(str(error)) is not None


def explain(error: ClickHouseError) -> str:
    """Return the sentence."""
    text = _ADDRESS.sub("", " ".join(str(error).split()))
    found = _SAID.search(text)
    if found is None:
        reason = _REASON.search(text)
        return f"ClickHouse does not answer: {reason[1] if reason else 'the connection is lost'}."
    name = (error.name if isinstance(error, Error) else None) or found["name"] or "error"
    said = _USER.sub("", _NOISE.sub("", found["said"])).rstrip(" .")
    if len(said) > _LONGEST:
        said = f"{said[:_LONGEST]}…"
    return f"{said}. ({name}) {_ADVICE.get(name, '')}".rstrip()
