"""The process that is the local ClickHouse: the library, told to listen and to wait for ever.

In: the library, a settings file, the data folder, two ports and the logs' folder, as arguments.
Out: HTTP and the native protocol on the loopback address. Never: an end by SIGTERM, which the
library ignores (killing its waiting query ends it in good order); a file opened that is not its
own, a connection to anybody, a program run.

The library is ClickHouse's program for local files: it lets whoever may ask anything read every
file with the function `file`, and runs commands for dictionaries. So the kernel keeps it in.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from deploy.local.landlock import Needs, confine

NOT_CONFINED = (
    "This kernel has no Landlock (Linux 5.13): whoever may ask the local ClickHouse can read the "
    "files of the user that it runs as."
)
# One row each half second for a lifetime; a kill of the query is noticed between two rows.
_WAIT = (
    "SELECT sleepEachRow(0.5) FROM numbers(4000000000) FORMAT Null "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 4000000"
)
_QUERY = f"SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; {_WAIT}"
# What any program reads: shared libraries, time zones, and figures about itself and the machine.
_OF_THE_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime",
    "/proc/vmstat", "/proc/sys", "/proc/diskstats", "/proc/net", "/sys/fs/cgroup",
    "/sys/devices/system", "/sys/block",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


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


def keep_in(library: Path, config: Path, data: Path, ports: tuple[str, str], logs: Path) -> None:
    """Let this process have its own folders and ports, and nothing else; say so if it cannot be."""
    data.mkdir(exist_ok=True)
    needs = Needs(
        read=[*map(Path, _OF_THE_SYSTEM), library, config, config.with_name("users.xml")],
        write=[data, Path.cwd(), *map(Path, _DEVICES)],
        append=[logs],
        listen=map(int, ports),
    )
    if not confine(needs):
        print(NOT_CONFINED, file=sys.stderr, flush=True)


if __name__ == "__main__":
    _library, _config, _data, _http, _native, _logs = sys.argv[1:]
    keep_in(Path(_library), Path(_config), Path(_data), (_http, _native), Path(_logs))
    sys.exit(main(_library, _config, _data, (_http, _native)))
