"""`cold_start_s` and `idle_rss_mb`: a stack that was just started, and what it holds when idle.

`track up` is started in an empty folder on free ports, with everything downloaded; the start has
ended when it says "Everything answers". After 20 seconds of rest the memory of every process of the
stack, the supervisor included, is added up: PSS where the kernel tells it (pages that processes
share, such as Python's own, are divided among them), else RSS.

Where the targets come from: 1.5 GB leaves a laptop of 8 GB its other work; who tries something out
waits half a minute.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import BenchmarkError, Figure
from tests.benchmarks.programs import wait_for
from tests.running_stack import running_stack

_SAYS = "Everything answers"


def measure(bench: Bench) -> list[Figure]:
    """Start a stack, wait, and read what its processes hold."""
    home = bench.folder / "idle"
    began = time.monotonic()
    with running_stack(home) as stack:
        wait_for(lambda: _SAYS in stack.output.read_text(), "the stack's start", 100, every_s=0.01)
        took_s = time.monotonic() - began
        bench.say(f"the stack answers after {took_s:.1f} s; it rests for {bench.sizes.idle_s:.0f}")
        time.sleep(bench.sizes.idle_s)
        kind, parts = _memory_by_part(home)
    words = ", ".join(f"{name} {size:.0f}" for name, size in _largest_first(parts))
    return [
        Figure("cold_start_s", took_s, "track up in a new folder, everything downloaded"),
        Figure("idle_rss_mb", sum(parts.values()), f"MB of {kind} after a rest: {words}"),
        *(
            Figure(f"idle_{name}_mb", size, f"MB of {kind}, all processes of the part")
            for name, size in _largest_first(parts)
        ),
    ]


def _largest_first(parts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(parts.items(), key=lambda part: -part[1])


def _memory_by_part(home: Path) -> tuple[str, dict[str, float]]:
    """Return what was read, PSS or RSS, and the MB (10^6 bytes) of each part of a stack."""
    mark = f"TRACK_HOME={home}".encode()
    processes = list(_processes_with(mark))
    if not processes:
        raise BenchmarkError("no process of the stack was found")
    kind = "PSS" if all(_kilobytes(each, "smaps_rollup", "Pss") for each in processes) else "RSS"
    file, field = ("smaps_rollup", "Pss") if kind == "PSS" else ("status", "VmRSS")
    parts: defaultdict[str, float] = defaultdict(float)
    for each in processes:
        parts[_part_of(each)] += _kilobytes(each, file, field) * 1024 / 1e6
    return kind, dict(parts)


def _processes_with(mark: bytes) -> Iterator[Path]:
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                yield folder
        except OSError:
            continue  # another user's, or just ended


def _kilobytes(process: Path, file: str, field: str) -> int:
    try:
        for line in (process / file).read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _part_of(process: Path) -> str:
    words = (process / "cmdline").read_bytes().decode().split("\0")
    if "kafka.Kafka" in words:
        return "kafka"
    if any(word.endswith("clickhouse_process.py") for word in words):
        return "clickhouse"
    subcommands = [word for word in words if word in ("up", "serve", "sessionizer", "writer")]
    return subcommands[0] if subcommands else "other"
