"""The process that is the local ClickHouse: the library, told to listen and to wait for ever.

In: the library, a settings file, the data folder and two ports, as arguments. Out: HTTP and the
native protocol on the loopback address. Never: an end by SIGTERM, which the library ignores;
killing its waiting query ends it in good order.
"""

from __future__ import annotations

import ctypes
import sys

# One row each half second for a lifetime; a kill of the query is noticed between two rows.
_WAIT = (
    "SELECT sleepEachRow(0.5) FROM numbers(4000000000) FORMAT Null "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 4000000"
)
_QUERY = f"SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; {_WAIT}"


def main(
    library: str, config: str, data: str, ports: tuple[str, str], host: str = "127.0.0.1"
) -> int:
    """Serve until the waiting query is killed; return the library's exit code.

    `ports` are those of HTTP and of the native protocol.
    """
    arguments = [
        "clickhouse", "--config-file", config, "--log-level", "warning", "--path", data,
        "--listen_host", host,
        "--http_port", ports[0], "--tcp_port", ports[1], "--multiquery", "--query", _QUERY,
    ]  # fmt: skip
    vector = (ctypes.c_char_p * len(arguments))(*[text.encode() for text in arguments])
    return int(ctypes.CDLL(library).chdb_query_cmdline(len(arguments), vector))


if __name__ == "__main__":
    _library, _config, _data, _http, _native = sys.argv[1:]
    sys.exit(main(_library, _config, _data, (_http, _native)))
