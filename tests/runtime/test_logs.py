"""Logs: one line an event, and few of those that repeat."""

from __future__ import annotations

import logging
import subprocess
import sys

from runtime.logs import RepeatLimit


def line(message: str, name: str = "aiokafka.conn") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, ("broker",), None)


def test_five_lines_of_a_kind_pass_in_ten_seconds() -> None:
    limit = RepeatLimit()
    passed = [limit.admit(line("%s is away"), 100 + tenth / 10) for tenth in range(100)]
    assert passed == [True] * 5 + [False] * 95


def test_the_next_window_begins_with_the_number_held_back() -> None:
    limit = RepeatLimit()
    for _ in range(30):
        limit.admit(line("%s is away"), 100.0)
    record = line("%s is away")
    assert limit.admit(record, 110.0)
    assert record.getMessage() == "broker is away (25 more like it before)"


def test_kinds_do_not_hold_each_other_back() -> None:
    limit = RepeatLimit()
    for _ in range(30):
        limit.admit(line("%s is away"), 100.0)
    assert limit.admit(line("%s is back"), 100.0)
    assert limit.admit(line("%s is away", "faust"), 100.0)


def test_the_memory_of_kinds_is_bounded() -> None:
    limit = RepeatLimit()
    for number in range(5_000):
        assert limit.admit(line(f"%s {number}"), 100.0)


def test_a_message_cannot_forge_a_line() -> None:
    code = (
        "import logging; from runtime.logs import set_up_logs; set_up_logs('writer');"
        "logging.getLogger('x').warning('one\\r\\n2026-01-01 ERROR two')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (only,) = done.stderr.splitlines()
    assert only.endswith(r"Z WARNING writer x: one\r\n2026-01-01 ERROR two")


HOSTILE = "\x1b[2J\u2028\x00\x85\t\ud800\u202e"


def logged(code: str) -> list[str]:
    program = "import logging; from runtime.logs import set_up_logs; set_up_logs('writer')\n" + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return done.stderr.decode().split("\n")[:-1]


def test_a_message_cannot_steer_a_terminal() -> None:
    (only,) = logged(f"logging.getLogger('x').warning('%s', {HOSTILE!a})")
    assert only.endswith(r"x: \x1b[2J\u2028\x00\x85\t\ud800\u202e")


def test_a_traceback_cannot_forge_a_line() -> None:
    forged = "one\n2026-01-01T00:00:00.000Z ERROR two\r\n" + HOSTILE
    code = (
        f"try: raise ValueError({forged!a})\n"
        "except ValueError: logging.getLogger('x').exception('It failed')"
    )
    first, *rest = logged(code)
    assert first.endswith("Z ERROR writer x: It failed")
    assert "    2026-01-01T00:00:00.000Z ERROR two" in rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
