"""How answers are written: JSON in one piece, lines of JSON, CSV.

In: an `Answer`. Out: bytes, and the type that says what they are. CSV is RFC 4180 with texts in
quotes and lines that end with a line feed, as ClickHouse writes it too, for what it streams itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import msgspec

from query.answers import Answer, Record
from query.parameters import FORMAT
from query.question import Format

MEDIA_TYPES: Mapping[Format, str] = {
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8; header=present",
}
# What Accept may say, by the format that it asks for; the first that is there counts.
_ACCEPTED: Mapping[str, Format] = {
    "application/json": Format.JSON,
    "text/csv": Format.CSV,
    "application/x-ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
}
# The formats by which ClickHouse streams the same.
STREAMED: Mapping[Format, str] = {Format.NDJSON: "JSONEachRow", Format.CSV: "CSVWithNames"}

_encoder = msgspec.json.Encoder()


def write(answer: Answer, form: Format, told: Mapping[str, str]) -> bytes:
    """Return the bytes of an answer.

    Args:
        answer: what is told.
        form: how.
        told: what JSON says beside it; other formats have it in headers alone.
    """
    if form is Format.JSON:
        return _encoder.encode({"status": "success", "data": answer.records, **told})
    if form is Format.NDJSON:
        return _encoder.encode_lines(answer.records)
    return _csv(answer)


def accepted(header: str) -> Format | None:
    """Return the format that an Accept header asks for, if it names one of ours.

    What it asks for most comes first; equals go by their order.
    """
    wanted = [_preference(each) for each in header.split(",")]
    found = [
        (-quality, _ACCEPTED[kind]) for kind, quality in wanted if kind in _ACCEPTED and quality
    ]
    return min(found, key=lambda each: each[0])[1] if found else None


def with_format(asked: list[tuple[str, str]], accept: str) -> list[tuple[str, str]]:
    """Return the names and values of a query string, with the format that Accept asks for.

    A format among them goes before Accept.
    """
    wanted = accepted(accept)
    if wanted is None or any(name == FORMAT.name for name, _ in asked):
        return asked
    return [*asked, (FORMAT.name, wanted)]


def _preference(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    qualities = [each[2:] for each in parameters if each.startswith("q=")]
    try:
        return kind, float(qualities[0]) if qualities else 1.0
    except ValueError:
        return kind, 0.0


def _csv(answer: Answer) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_cell(record, name) for name in answer.columns] for record in answer.records)
    return text.getvalue().encode()


def _cell(record: Record, name: str) -> object:
    """Return a value; what a period has nothing of is 0."""
    value = record.get(name, 0) if isinstance(record, dict) else getattr(record, name)
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else value
