"""The rules once more: slow, plain, and made from the README alone.

In: what was sent. Out: what must become of it. Never: a function of the services.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

MOST_BYTES, MOST_METADATA, MOST_ATTRIBUTES, MOST_LEVELS = 65_536, 4096, 256, 64
MOST_JSON_LEVELS = 128
FUTURE = "Timestamp was in the future; server time was used"
TRUNCATED = "Metadata truncated due to size limit"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Digits(str):
    """A number by the text that was sent."""

    __slots__ = ()


def read_json(body: bytes) -> Any:
    """Return the value of a JSON text; ValueError where it is none."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    text = body.decode()
    if deepest(text) > MOST_JSON_LEVELS:
        raise ValueError("too deep")
    value = json.loads(text, parse_int=Digits, parse_float=Digits, parse_constant=refuse)
    return mended(value)


def deepest(text: str) -> int:
    """Return how deep a JSON text is nested, letter by letter."""
    depth = most = 0
    is_inside = is_escaped = False
    for letter in text:
        if is_inside:
            is_inside = is_escaped or letter != '"'
            is_escaped = letter == "\\" and not is_escaped
        elif letter == '"':
            is_inside = True
        else:
            depth += (letter in "{[") - (letter in "]}")
            most = max(most, depth)
    return most


def mended(value: Any) -> Any:
    """Return the value with each surrogate that stands alone as U+FFFD."""
    if isinstance(value, Digits):
        return value
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {mended(key): mended(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [mended(inner) for inner in value]
    return value


def read_event(body: bytes) -> dict[str, Any] | str:
    """Return the five fields of an event, None for those left out, or the code of what is wrong."""
    try:
        value = read_json(body)
    except ValueError:
        return "invalid_json"
    if not isinstance(value, dict):
        return "invalid_json"
    event = {
        name: value.get(name) for name in ("event", "user_id", "timestamp", "metadata", "event_id")
    }
    if not is_text(event["event"], 200) or event["event"] == "date":
        return "invalid_event"
    if not is_text(event["user_id"], 256):
        return "invalid_user_id"
    if event["timestamp"] is not None and (
        not is_text(event["timestamp"], 64) or milliseconds(event["timestamp"]) is None
    ):
        return "invalid_timestamp"
    if event["metadata"] is not None and (
        not isinstance(event["metadata"], dict) or levels(event["metadata"]) > MOST_LEVELS
    ):
        return "invalid_metadata"
    if event["event_id"] is not None and (
        not is_text(event["event_id"], 128) or event["event_id"][0] == "~"
    ):
        return "invalid_event_id"
    return event


def is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and not isinstance(value, Digits) and 1 <= len(value) <= most


def levels(value: object) -> int:
    """Return how deep a value is nested."""
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


def milliseconds(text: str) -> int | None:
    """Return the time of an RFC 3339 text, digit by digit with datetime."""
    if len(text) > 64 or not text.isascii():
        return None
    date, t, rest = text.partition("T")
    found = re.fullmatch(r"(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", rest)
    if not t or re.fullmatch(r"\d{4}-\d\d-\d\d", date) is None or found is None:
        return None
    clock, fraction, offset = found.groups()
    try:
        local = datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
    except ValueError:
        return None
    if clock.endswith((":60", ":61")):
        return None
    shift = timedelta(0)
    if offset != "Z":
        hours, minutes = int(offset[1:3]), int(offset[4:6])
        if hours > 23 or minutes > 59:
            return None
        shift = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
    since = local.replace(tzinfo=timezone.utc) - EPOCH - shift  # noqa: UP017
    at = since // timedelta(milliseconds=1) + int(((fraction or ".0")[1:] + "00")[:3])
    return at if at >= 0 else None


def compact(value: Any) -> bytes:
    """Return the compact encoding, numbers by their text."""
    if isinstance(value, Digits):
        return value.encode()
    if isinstance(value, Mapping):
        return b"{%b}" % b",".join(
            compact(key) + b":" + compact(inner) for key, inner in value.items()
        )
    if isinstance(value, list):
        return b"[%b]" % b",".join(map(compact, value))
    return json.dumps(value, ensure_ascii=False).encode()


def stored(value: Any) -> Any:
    """Return the value with numbers that no column takes as texts."""
    if isinstance(value, Digits):
        is_whole = re.fullmatch("-?[0-9]+", value) is not None
        if is_whole:
            fits = len(value) < 30 and -(2**63) <= int(value) < 2**64
        else:
            fits = abs(float(value)) < float("inf")
        return value if fits else str(value)
    if isinstance(value, dict):
        return {key: stored(inner) for key, inner in value.items()}
    return [stored(inner) for inner in value] if isinstance(value, list) else value


def admit(event: Mapping[str, Any], received_at: int) -> tuple[int, dict[str, Any]]:
    """Return the timestamp and the metadata of an event as they are kept."""
    sent = event["metadata"] or {}
    text = event["timestamp"]
    at = received_at if text is None else milliseconds(text)
    assert at is not None
    warnings, added = [], {}
    if at > received_at + 1000:
        warnings, added = [FUTURE], {"originalTimestamp": text}
    kept = stored(sent)

    def whole(chosen: Mapping[str, Any]) -> dict[str, Any]:
        mine = {"warning": "; ".join(warnings), **added} if warnings else {}
        return {**{key: inner for key, inner in chosen.items() if key not in mine}, **mine}

    if len(compact(whole(kept))) > MOST_METADATA:
        warnings.append(TRUNCATED)
        added["originalSize"] = Digits(len(compact(sent)))
        chosen: dict[str, Any] = {}
        for key, inner in kept.items():
            if len(compact(whole({**chosen, key: inner}))) <= MOST_METADATA:
                chosen[key] = inner
        kept = chosen
    return min(at, received_at), whole(kept)


def attributes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values that fit into a session."""
    chosen: dict[str, Any] = {}
    for key, inner in metadata.items():
        if (
            isinstance(inner, str | bool)
            and len(compact({**chosen, key: inner})) <= MOST_ATTRIBUTES
        ):
            chosen[key] = inner
    return chosen


def idempotency_key(header: bytes) -> str | None:
    """Return the key of a header, read letter by letter; None where a quoted one is not closed."""
    try:
        text = header.decode()
    except UnicodeDecodeError:
        text = header.decode("latin-1")
    while text[:1] in {" ", "\t"} and text:
        text = text[1:]
    while text[-1:] in {" ", "\t"} and text:
        text = text[:-1]
    if text[:1] != '"':
        return text
    letters: list[str] = []
    at = 1
    while at < len(text):
        letter = text[at]
        if letter == '"':
            return "".join(letters) if at == len(text) - 1 else None
        if letter == "\\":
            at += 1
            if text[at : at + 1] not in {'"', "\\"}:
                return None
            letter = text[at]
        letters.append(letter)
        at += 1
    return None
