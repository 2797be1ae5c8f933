"""A question over ClickHouse's native protocol, in an old revision of it that has few fields.

In: a port, a user, a password, a query without an answer that matters. Out: nothing, or the name
and words of the server's exception. Never: a look at the rows.
"""

from __future__ import annotations

import socket
import struct
from typing import BinaryIO

_REVISION = 54_000
_HELLO, _EXCEPTION, _END = 0, 2, 5


def refusal(port: int, user: str, password: str, query: str) -> str:
    """Return what the server says against a query; empty if it takes it."""
    with (
        socket.create_connection(("127.0.0.1", port), 20) as connection,
        connection.makefile("rb") as answer,
    ):
        texts = (_text("test"), _number(1), _number(1), _number(_REVISION), _text(""))
        connection.sendall(b"".join((_number(_HELLO), *texts, _text(user), _text(password))))
        if _read_number(answer) == _EXCEPTION:
            return _read_exception(answer)
        no_settings, whole, uncompressed, no_data = _text(""), _number(2), _number(0), b"\2\0"
        sent = (_number(1), _text(""), no_settings, whole, uncompressed, _text(query))
        block_info = b"\1\0\2\xff\xff\xff\xff\0"
        connection.sendall(b"".join((*sent, no_data, block_info, _number(0), _number(0))))
        connection.shutdown(socket.SHUT_WR)
        said = answer.read()
    # The exception is the last packet, in the layout that `_read_exception` reads.
    at = said.rfind(b"DB::Exception")
    return "" if at < 0 else said[at:].decode(errors="replace")


def _number(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes((value & 127 | 128,)), value >> 7
    return encoded + bytes((value,))


def _text(value: str) -> bytes:
    return _number(len(value.encode())) + value.encode()


def _read_number(source: BinaryIO) -> int:
    value = shift = 0
    while (byte := source.read(1)[0]) > 127:
        value, shift = value | (byte & 127) << shift, shift + 7
    return value | byte << shift


def _read_exception(source: BinaryIO) -> str:
    struct.unpack("<i", source.read(4))
    name = source.read(_read_number(source)).decode()
    return f"{name}: {source.read(_read_number(source)).decode()}"
