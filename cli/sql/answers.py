"""A statement's answer, written as it comes.

In: a client, a statement, a format, a file of bytes. Out: the answer in that format, made by
ClickHouse. Never: an answer held in memory; half an answer that looks whole (ClickHouse keeps the
beginning back until the end is there); a change, whoever the user is; a control character of
somebody's data on a terminal.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import BinaryIO

from runtime.clickhouse import Client

_CHUNK_BYTES = 1 << 16
_SETTINGS: Mapping[str, object] = {
    "readonly": 2,
    "wait_end_of_query": 1,
    # Who interrupts, or closes the pipe, wants no answer any more.
    "cancel_http_readonly_queries_on_client_close": 1,
    "output_format_pretty_row_numbers": 0,
    "output_format_pretty_color": 0,
    "output_format_pretty_max_rows": 1_000_000,
    "output_format_pretty_single_large_number_tip_threshold": 0,
    "output_format_pretty_display_footer_column_names": 0,
    "output_format_json_array_of_rows": 1,
    "output_format_json_quote_64bit_integers": 0,
}
# All that a terminal would obey, but for the end of a line.
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Format(StrEnum):
    """How an answer is written; a FORMAT in the statement goes before it."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"


_CLICKHOUSE: Mapping[Format, tuple[str, Mapping[str, object]]] = {
    Format.TABLE: ("PrettyCompactMonoBlock", {}),
    Format.CSV: ("CSVWithNames", {}),
    Format.JSON: ("JSONEachRow", {}),
    Format.NDJSON: ("JSONEachRow", {"output_format_json_array_of_rows": 0}),
    Format.PARQUET: ("Parquet", {}),
}


def write_answer(
    client: Client,
    statement: str,
    form: Format,
    out: BinaryIO,
    *,
    parameters: Mapping[str, str] | None = None,
    to_terminal: bool = False,
) -> None:
    """Ask, and write the answer.

    Args:
        client: connected as who asks.
        statement: one statement, without a semicolon.
        form: the format, unless the statement names its own.
        out: where the answer goes.
        parameters: what `{name:Type}` in the statement stands for.
        to_terminal: `out` is a terminal: control characters are shown, not sent.

    Raises:
        ClickHouseError: it was refused, or the server is away; nothing was written.
    """
    name, settings = _CLICKHOUSE[form]
    stream = client.raw_stream(
        statement,
        parameters=dict(parameters) if parameters else None,
        settings={**_SETTINGS, **settings},
        transport_settings={"X-ClickHouse-Format": name},
    )
    with contextlib.closing(stream):
        chunks = iter(lambda: stream.read(_CHUNK_BYTES), b"")
        for chunk in _harmless(chunks) if to_terminal else chunks:
            out.write(chunk)
    out.flush()


def _harmless(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give the text with its control characters as Unicode's pictures of them, or as `�`."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for chunk in chunks:
        yield _CONTROLS.sub(_picture, decoder.decode(chunk)).encode()
    yield decoder.decode(b"", final=True).encode()


def _picture(control: re.Match[str]) -> str:
    code = ord(control[0])
    return chr(0x2400 + code) if code < 0x20 else "�"
