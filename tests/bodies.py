"""Bodies of POST /track, good and bad, and the contract's answer to each.

In: nothing. Out: bodies by name: those that are taken as they came, those that are mended first,
and those that are refused, with status and code. The same bodies are records of `track.events`.
"""

from __future__ import annotations

import json


def event(**fields: object) -> bytes:
    return json.dumps({"event": "play", "user_id": "u"} | fields, ensure_ascii=False).encode()


def raw(rest: str) -> bytes:
    return f'{{"event":"play","user_id":"u",{rest}}}'.encode()


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def metadata_of(size: int, letter: str = "x") -> str:
    """Return a metadata object of that many bytes."""
    room = size - len('{"a":""}')
    width = len(letter.encode())
    return '{"a":"' + letter * (room // width) + "y" * (room % width) + '"}'


TAKEN = {
    "least": event(),
    "null for each optional field": event(timestamp=None, metadata=None, event_id=None),
    "unknown fields": event(more=[1, {"x": None}]),
    "white space around": b" \r\n\t" + event() + b" \n\t\r ",
    "event_id inside metadata only": event(metadata={"event_id": "x"}),
    "a brace at the end of a value": event(metadata={"a": "}"}),
    "name of 200": event(event="é" * 200),
    "user of 256": event(user_id="😀" * 256),
    "id of 128": event(event_id="日" * 128),
    "NUL in user": event(user_id="a\0b"),
    "NUL and emoji in event_id": event(event_id="\0😀"),
    "CR LF and Japanese in event_id": event(event_id="\r\nX-Forged: 1\r\n日本"),
    "user p": event(user_id="p"),
    "timestamp Z": event(timestamp="2025-01-18T14:30:00Z"),
    "timestamp offset": event(timestamp="2025-01-18T14:30:00+05:30"),
    "timestamp nine digits": event(timestamp="2025-01-18T14:30:00.123456789Z"),
    "timestamp 2200": event(timestamp="2200-01-01T00:00:00Z"),
    "metadata of 4096": raw('"metadata":' + metadata_of(4096)),
    "metadata of 4097": raw('"metadata":' + metadata_of(4097)),
    "metadata of 4096, multi-byte": raw('"metadata":' + metadata_of(4096, "日")),
    "metadata of 4097, multi-byte": raw('"metadata":' + metadata_of(4097, "日")),
    "1e400": raw('"metadata":{"n":1e400}'),
    "30 digits": raw('"metadata":{"n":123456789012345678901234567890}'),
    "depth 64": raw('"metadata":' + nested(64)),
    "empty metadata": event(metadata={}),
}

MENDED = {
    "surrogate in metadata": (raw(r'"metadata":{"a\ud800":"x\udfff"}'), "metadata"),
    "surrogate in event": (rb'{"event":"p\ud800","user_id":"u"}', "event"),
    "surrogate in user_id": (rb'{"event":"play","user_id":"\ud800u"}', "user_id"),
    "surrogate in event_id": (raw(r'"event_id":"i\udbff"'), "event_id"),
}

REFUSED = {
    "empty body": (b"", 400, "invalid_json"),
    "broken": (b'{"event":"play","user_id":"u"', 400, "invalid_json"),
    "not UTF-8": (b'{"event":"play","user_id":"\xff"}', 400, "invalid_json"),
    "two values": (event() + event(), 400, "invalid_json"),
    "array": (b"[" + event() + b"]", 400, "invalid_json"),
    "string": (b'"play"', 400, "invalid_json"),
    "null": (b"null", 400, "invalid_json"),
    "form": (b"event=play&user_id=u", 400, "invalid_json"),
    "NaN": (raw('"metadata":{"a":NaN}'), 400, "invalid_json"),
    "no event": (b'{"user_id":"u"}', 400, "invalid_event"),
    "no user": (b'{"event":"play"}', 400, "invalid_user_id"),
    "event number": (event(event=1), 400, "invalid_event"),
    "event null": (event(event=None), 400, "invalid_event"),
    "event empty": (event(event=""), 400, "invalid_event"),
    "event of 201": (event(event="x" * 201), 400, "invalid_event"),
    "event date": (event(event="date"), 400, "invalid_event"),
    "user list": (event(user_id=[]), 400, "invalid_user_id"),
    "user empty": (event(user_id=""), 400, "invalid_user_id"),
    "user of 257": (event(user_id="x" * 257), 400, "invalid_user_id"),
    "timestamp number": (event(timestamp=1737201600), 400, "invalid_timestamp"),
    "timestamp without offset": (
        event(timestamp="2025-01-18T14:30:00"),
        400,
        "invalid_timestamp",
    ),
    "timestamp with a space": (event(timestamp="2025-01-18 14:30:00Z"), 400, "invalid_timestamp"),
    "timestamp :60": (event(timestamp="2016-12-31T23:59:60Z"), 400, "invalid_timestamp"),
    "timestamp 1969": (event(timestamp="1969-12-31T23:59:59Z"), 400, "invalid_timestamp"),
    "timestamp of 65": (
        event(timestamp="2025-01-18T14:30:00." + "1" * 44 + "Z"),
        400,
        "invalid_timestamp",
    ),
    "metadata list": (event(metadata=[]), 400, "invalid_metadata"),
    "metadata text": (event(metadata="x"), 400, "invalid_metadata"),
    "depth 65": (raw('"metadata":' + nested(65)), 400, "invalid_metadata"),
    "event_id number": (event(event_id=1), 400, "invalid_event_id"),
    "event_id empty": (event(event_id=""), 400, "invalid_event_id"),
    "event_id of 129": (event(event_id="x" * 129), 400, "invalid_event_id"),
    "event_id derived": (event(event_id="~x"), 400, "invalid_event_id"),
    "10 MB": (raw('"metadata":' + metadata_of(10_000_000)), 413, "too_large"),
    "one byte too many": (event() + b" " * (65_537 - len(event())), 413, "too_large"),
}
