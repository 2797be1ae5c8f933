"""How many rows a Parquet file says it has: its footer, and nothing else of it.

In: an open file. Out: a number. Never: more than a few MB read; an error that is not a ValueError,
whatever the bytes are.

A file ends with its metadata (Thrift's compact protocol), their length and a magic word. What was
cut off on the way has no such end, so the number also proves that the answer came whole.
"""

from __future__ import annotations

import os
from typing import BinaryIO

MAGIC = b"PAR1"
_MOST_FOOTER_BYTES = 64 * 1024 * 1024
_MOST_DEPTH = 32
_NUM_ROWS = 3  # the field of FileMetaData, after the version and the schema
_I64 = 6
_FIXED = {1: 0, 2: 0, 3: 1, 7: 8}  # bytes that follow a true, a false, a byte, a double
_VARINTS = (4, 5, _I64)
_BINARY, _LIST, _SET, _STRUCT = 8, 9, 10, 12


def count_rows(file: BinaryIO) -> int:
    """Return the number of rows that the footer names.

    Raises:
        ValueError: it is no whole Parquet file.
    """
    size = file.seek(0, os.SEEK_END)
    if size < 12:
        raise ValueError("it is too short for a Parquet file")
    file.seek(0)
    starts = file.read(4)
    file.seek(size - 8)
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if starts != MAGIC or tail[4:] != MAGIC or length > min(size - 12, _MOST_FOOTER_BYTES):
        raise ValueError("it is no whole Parquet file")
    file.seek(size - 8 - length)
    try:
        rows = _Thrift(file.read(length)).find_i64(_NUM_ROWS)
    except IndexError:
        rows = None
    if rows is None or rows < 0:
        raise ValueError("its footer names no number of rows")
    return rows


class _Thrift:
    """A struct in the compact protocol, read from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def find_i64(self, wanted: int) -> int | None:
        """Return the struct's number under a field id; None if it has none."""
        field = 0
        while header := self._byte():
            kind, delta = header & 15, header >> 4
            field = field + delta if delta else self._zigzag()
            if field == wanted:
                return self._zigzag() if kind == _I64 else None
            self._skip(kind, 0)
        return None

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _MOST_DEPTH:
            raise IndexError
        if kind in _FIXED:
            self._at += _FIXED[kind]
        elif kind in _VARINTS:
            self._varint()
        elif kind == _BINARY:
            length = self._varint()
            self._at += length
        elif kind in (_LIST, _SET):
            self._skip_list(depth)
        elif kind == _STRUCT:
            self._skip_struct(depth)
        else:
            raise IndexError

    def _skip_list(self, depth: int) -> None:
        header = self._byte()
        count = header >> 4 if header >> 4 < 15 else self._varint()
        kind = header & 15
        for _ in range(count):
            # A truth value is a byte of its own in a list.
            self._at += kind in (1, 2)
            self._skip(kind, depth + 1)
            if self._at > len(self._data):
                raise IndexError

    def _skip_struct(self, depth: int) -> None:
        while header := self._byte():
            if not header >> 4:
                self._varint()
            self._skip(header & 15, depth + 1)

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise IndexError

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
