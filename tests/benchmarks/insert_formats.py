"""`insert_…_rows_per_s`: how fast ClickHouse reads the writer's rows, by the format they come in.

A block of 100,000 rows as the writer makes them is inserted into `events`, read back in each
format, and then inserted, in turn and some times over, into the twin of `events`, which has the
same columns and keeps nothing: so it is the reading that is timed. JSONEachRow is what the writer
sends, since the rows lie in the topic as JSON objects; it would have to make any other of them
first. In the binary formats `metadata` is text in one (`_json_text`) and ClickHouse's own form in
the other. Beside it the whole insert of the same block into `events`, with the views behind it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

from contracts.tables import EVENTS
from processors.writer.blocks import prefix_of
from processors.writer.pacing import BLOCK_ROWS
from processors.writer.storage import LINES
from runtime.clickhouse import Client, connect_sync
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.writer import make_rows

_ROUNDS = 8
_COLUMNS = (
    "event_id, user_id, event, timestamp, received_at, metadata, source, log_offset, "
    "kafka_partition, kafka_offset"
)
_AS_TEXT = {
    "output_format_binary_write_json_as_string": 1,
    "output_format_native_write_json_as_string": 1,
    "input_format_binary_read_json_as_string": 1,
}
# Name of the figure: format and settings.
_FORMATS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "json_each_row": ("JSONEachRow", {}),
    "json_compact_each_row": ("JSONCompactEachRow", {}),
    "row_binary": ("RowBinary", {}),
    "row_binary_json_text": ("RowBinary", _AS_TEXT),
    "native": ("Native", {}),
    "native_json_text": ("Native", _AS_TEXT),
}


def measure(bench: Bench) -> list[Figure]:
    """Measure each format in turn, and the whole insert."""
    rows = min(bench.sizes.rows, BLOCK_ROWS)
    lines = _lines(rows)
    taken: dict[str, list[float]] = {name: [] for name in _FORMATS}
    whole: list[float] = []
    with bench.namespace() as settings:
        client = connect_sync(settings)
        try:
            _insert(client, EVENTS.name, "JSONEachRow", lines, {})
            bodies = {name: _read(client, rows, *each) for name, each in _FORMATS.items()}
            bodies["json_each_row"] = lines
            for number in range(_ROUNDS):
                for name, (form, extra) in _FORMATS.items():
                    taken[name].append(_insert(client, EVENTS.twin, form, bodies[name], extra))
                token = {"insert_deduplication_token": f"round {number}"}
                whole.append(_insert(client, EVENTS.name, "JSONEachRow", lines, token))
        finally:
            client.close()
    figures = [_figure(name, each, rows, len(bodies[name])) for name, each in taken.items()]
    return [*figures, _figure("whole", whole, rows, len(lines))]


def _figure(name: str, taken: list[float], rows: int, size: int) -> Figure:
    rates = [rows / seconds for seconds in taken]
    how = f"one block of {rows:,}, {size / rows:.0f} bytes a row; {spread(rates)}"
    return Figure(f"insert_{name}_rows_per_s", median(rates), how)


def _lines(rows: int) -> bytes:
    prefix = prefix_of(0, None)
    return b"".join(
        b"%b%d,%b\n" % (prefix, offset, value[1:])
        for offset, (_, value) in enumerate(make_rows(0, rows))
    )


def _read(client: Client, rows: int, form: str, extra: Mapping[str, int]) -> bytes:
    statement = f"SELECT {_COLUMNS} FROM {EVENTS.name} LIMIT {rows}"
    settings = {each: value for each, value in extra.items() if each.startswith("output_")}
    body: bytes = client.raw_query(statement, fmt=form, settings=settings)
    return body


def _insert(
    client: Client, table: str, form: str, body: bytes, extra: Mapping[str, str | int]
) -> float:
    """Insert as the writer does; return the seconds it took."""
    settings = {**LINES, **{k: v for k, v in extra.items() if not k.startswith("output_")}}
    statement = f"INSERT INTO {table} ({_COLUMNS}) FORMAT {form}"
    began = time.perf_counter()
    client.command(statement, data=body, settings=settings)
    return time.perf_counter() - began
