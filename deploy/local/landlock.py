"""A process that keeps itself to a few folders and ports: Landlock, by three calls of the kernel.

In: what may be read, what may be written, the ports to listen on. Out: this thread, and every
thread and process that it starts, can open nothing else, run no program and connect to nobody.
Never: a way back.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# The numbers of Linux's landlock.h; each version of the interface added a few.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_RULE, _PORT_RULE = 1, 1, 2
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_FILE, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_ALL_OF_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_EXECUTE = 1 << 0
_OF_A_FILE = _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
_LISTEN, _CONNECT = 1 << 0, 1 << 1
_PORTS_SINCE_VERSION = 4

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a process may still do. Paths that are not there are passed over.

    Attributes:
        read: files and folders to read.
        write: files and folders to do anything in.
        append: folders to write and remove files in, which it cannot read.
        listen: TCP ports.
    """

    read: Iterable[Path]
    write: Iterable[Path]
    append: Iterable[Path]
    listen: Iterable[int]


def landlock_version() -> int:
    """Return the version of the kernel's interface; 0 where there is none."""
    version: int = _libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    return max(0, version)


def confine(needs: Needs) -> bool:
    """Keep this thread, and all that comes of it, to its needs; False where the kernel cannot.

    Raises:
        OSError: the kernel has refused a rule.
    """
    version = landlock_version()
    if not version:
        return False
    everything = max(bits for since, bits in _ALL_OF_VERSION.items() if since <= version)
    has_ports = version >= _PORTS_SINCE_VERSION
    ports = _LISTEN | _CONNECT if has_ports else 0
    handled = struct.pack("QQ" if has_ports else "Q", *([everything, ports][: 1 + has_ports]))
    rules = _call(_CREATE_RULESET, handled, len(handled), 0)
    try:
        for paths, access in (
            (needs.read, _READ_FILE | _READ_DIR),
            (needs.write, everything & ~_EXECUTE),
            (needs.append, _WRITE_FILE | _READ_DIR | _REMOVE_FILE | _MAKE_FILE | _TRUNCATE),
        ):
            for path in paths:
                _allow_path(rules, path, access & everything)
        if has_ports:
            for port in needs.listen:
                _call(_ADD_RULE, rules, _PORT_RULE, struct.pack("QQ", _LISTEN, port), 0)
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "the kernel refuses PR_SET_NO_NEW_PRIVS")
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return True


def _allow_path(rules: int, path: Path, access: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            access &= _OF_A_FILE
        _call(_ADD_RULE, rules, _PATH_RULE, struct.pack("=Qi", access, opened), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: int | bytes) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock refuses call {number}")
    return result
