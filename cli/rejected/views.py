"""Rejections as text: a table, all of one, JSON.

In: rejections and their marks. Out: lines. Never: a character that a terminal would obey: what
somebody sent is shown escaped.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from cli.rejected.rejection import Rejection
from contracts.replays import Mark
from contracts.timestamps import format_timestamp

_BYTES_A_LINE = 16
_HEADINGS = ("rejection", "received (UTC)", "reason", "bytes", "replayed", "source", "message")


def as_object(rejection: Rejection, mark: Mark | None, *, whole: bool) -> dict[str, object]:
    """Return a rejection for programs; only `whole` with its value and headers."""
    shown: dict[str, object] = {
        "id": str(rejection.place),
        "reason": rejection.reason,
        "message": rejection.message,
        "source": rejection.source,
        "received_at": format_timestamp(rejection.received_at),
        **_content("key", rejection.key),
        "value_bytes": rejection.value_bytes,
        "whole": rejection.whole,
        "replayed": mark and {**_of_mark(mark), "partition": mark.partition},
    }
    if whole:
        headers = [{"name": name, **_content("value", each)} for name, each in rejection.headers]
        shown |= _content("value", rejection.value)
        shown |= {"value_sha256": rejection.value_sha256, "headers": headers}
    return shown


def table(rows: Sequence[tuple[Rejection, Mark | None]], width: int | None) -> Iterator[str]:
    """Give the lines of a table, none wider than `width` if there is one."""
    cells = [_HEADINGS, *(_cells(*row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        yield line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def description(rejection: Rejection, mark: Mark | None) -> Iterator[str]:
    """Give the lines that say all of a rejection."""
    named = {
        "rejection": str(rejection.place),
        "reason": rejection.reason,
        "message": escaped(rejection.message),
        "received": time_text(rejection.received_at),
        "source": escaped(rejection.source) or "none was named",
        "key": _line_of(rejection.key),
        **{f"header {escaped(name)}": _line_of(each) for name, each in rejection.headers},
        "replayed": "no" if mark is None else f"{time_text(mark.replayed_at)}, {became(mark)}",
        "kept": _kept(rejection),
    }
    width = max(map(len, named)) + 2
    for name, text in named.items():
        yield f"{name.ljust(width)}{text}"
    if rejection.value:
        yield "value"
        yield from (f"  {line}" for line in _lines_of(rejection.value, cut=not rejection.whole))


def escaped(text: str) -> str:
    """Return a text in one line, with everything that is not printable as its escape.

    >>> escaped("ö\\x1b[2J")
    'ö\\\\x1b[2J'
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def time_text(milliseconds: int) -> str:
    """Return a moment (ms since 1970, UTC) as people read it, to the second."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def became(mark: Mark) -> str:
    """Return which event a rejection has become."""
    if not mark.user_id:
        return "as an event of a user who is forgotten"
    return f"as the event {escaped(mark.event_id)} of the user {escaped(mark.user_id)}"


def _cells(rejection: Rejection, mark: Mark | None) -> tuple[str, ...]:
    return (
        str(rejection.place),
        time_text(rejection.received_at),
        rejection.reason,
        f"{rejection.value_bytes:,}",
        "no" if mark is None else "yes",
        escaped(rejection.source) or "-",
        escaped(rejection.message),
    )


def _kept(rejection: Rejection) -> str:
    if rejection.whole:
        return f"whole, {rejection.value_bytes:,} bytes"
    if not rejection.value_sha256:
        return f"all {rejection.value_bytes:,} bytes of the value, but not all of key and headers"
    return (
        f"the first {len(rejection.value or b''):,} bytes of {rejection.value_bytes:,}; "
        f"SHA-256 of all: {rejection.value_sha256}"
    )


def _line_of(content: bytes | None) -> str:
    if content is None:
        return "none"
    try:
        return escaped(content.decode())
    except UnicodeDecodeError:
        return f"0x{content.hex()}"


def _lines_of(value: bytes, *, cut: bool) -> Iterator[str]:
    """Give a text line by line, and bytes that are none as a hexadecimal dump.

    A text that was cut may end inside of a character.
    """
    try:
        text = value.decode(errors="strict")
    except UnicodeDecodeError as error:
        if not (cut and error.end == len(value) and error.reason == "unexpected end of data"):
            yield from _dump(value)
            return
        text = value[: error.start].decode()
    yield from (escaped(line) for line in text.split("\n"))


def _dump(value: bytes) -> Iterator[str]:
    for start in range(0, len(value), _BYTES_A_LINE):
        piece = value[start : start + _BYTES_A_LINE]
        text = "".join(chr(each) if 32 <= each < 127 else "." for each in piece)
        yield f"{start:08x}  {piece.hex(' ').ljust(3 * _BYTES_A_LINE)} {text}"


def _of_mark(mark: Mark) -> Mapping[str, object]:
    return {
        "event_id": mark.event_id,
        "user_id": mark.user_id,
        "replayed_at": format_timestamp(mark.replayed_at),
    }


def _content(name: str, content: bytes | None) -> dict[str, object]:
    """Return a content as text where it is UTF-8, else as base64; its encoding stands beside it."""
    if content is None:
        return {name: None, f"{name}_encoding": "null"}
    try:
        return {name: content.decode(), f"{name}_encoding": "utf-8"}
    except UnicodeDecodeError:
        return {name: b64encode(content).decode(), f"{name}_encoding": "base64"}
