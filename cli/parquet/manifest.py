"""What lies in a folder of exported events: the manifest, and whether it is sound.

In: the manifest's JSON, or the days that were exported. Out: the other one. Never: a file, a name
that leads out of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

import msgspec

FORMAT = 1
"""Version of folder and files: raised when an older `track import` could not read them."""

_LOG_ID = re.compile("[0-9a-f]{32}")
_SHA256 = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"day=(\d{4}-\d\d-\d\d)/[1-9]\d{0,8}/\d{4,9}\.parquet")


class ManifestError(ValueError):
    """What stands there is no sound manifest; the message says what is wrong with it."""


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one Kafka partition: how many rows; first and last offset in the topic accepted."""

    rows: int
    first: int
    last: int


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Parquet file: its name in the folder, and what it must be."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Day(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day of receipt (UTC), whole: what it has by Kafka partition, and in which files."""

    rows: int
    bytes: int
    exported_at: str
    partitions: dict[int, Span]
    files: list[File]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The folder: of which log its events are, and the days that it has."""

    format: int
    log: str
    days: dict[date, Day]

    @classmethod
    def of(cls, log: str) -> Manifest:
        """Return the manifest of a folder that has no day yet."""
        return cls(FORMAT, log, {})

    def with_day(self, day: date, exported: Day) -> Manifest:
        """Return the manifest with a day more, or with the day anew."""
        days = {**self.days, day: exported}
        return Manifest(self.format, self.log, dict(sorted(days.items())))


class _Version(msgspec.Struct):
    format: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the JSON of a manifest, for people too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest of a JSON text.

    Raises:
        ManifestError: it is none, is of another version, or contradicts itself.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version != FORMAT:
            raise ManifestError(f"its format is {version}, and this version reads {FORMAT}")
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ManifestError(f"it is no manifest: {error}") from error
    if not _LOG_ID.fullmatch(manifest.log):
        raise ManifestError(f"it names no log: {manifest.log[:40]!r}")
    for day, exported in manifest.days.items():
        fault = _fault_of(day, exported)
        if fault:
            raise ManifestError(f"day {day} {fault}")
    return manifest


def describe_difference(
    wanted: Mapping[int, Span],
    found: Mapping[int, Span],
    forgotten: Mapping[int, Span] = MappingProxyType({}),
) -> str | None:
    """Return a sentence on the first Kafka partition in which two tallies differ, or None.

    Rows may be missing as far as they can be among the `forgotten`.
    """
    for number in sorted({*wanted, *found}):
        one, other = wanted.get(number), found.get(number)
        if one != other and not _can_be(one, other, forgotten.get(number)):
            return f"partition {number} has {_words(other)}, and must have {_words(one)}"
    return None


def _fault_of(day: date, exported: Day) -> str | None:
    names = [file.name for file in exported.files]
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match[1] != day.isoformat():
            return f"names a file {name[:80]!r}"
    if len(set(names)) != len(names):
        return "names a file twice"
    if any(not _SHA256.fullmatch(file.sha256) for file in exported.files):
        return "has a file without its SHA-256"
    if sum(file.rows for file in exported.files) != exported.rows:
        return "has other rows than its files"
    if sum(file.bytes for file in exported.files) != exported.bytes:
        return "has other bytes than its files"
    if sum(span.rows for span in exported.partitions.values()) != exported.rows:
        return "has other rows than its partitions"
    return None


def _can_be(wanted: Span | None, found: Span | None, forgotten: Span | None) -> bool:
    """Tell whether the rows that were found, and some that are forgotten, can be those wanted."""
    if wanted is None or forgotten is None:
        return False
    if found is None:
        found = Span(0, forgotten.last, forgotten.first)
    return (
        found.rows <= wanted.rows <= found.rows + forgotten.rows
        and min(found.first, forgotten.first) <= wanted.first <= found.first
        and found.last <= wanted.last <= max(found.last, forgotten.last)
    )


def _words(span: Span | None) -> str:
    if span is None:
        return "no rows"
    return f"{span.rows:,} row{'s' * (span.rows != 1)} of offsets {span.first} to {span.last}"
