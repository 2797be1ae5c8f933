"""Ports for what a test starts: chosen now, and listened on seconds later.

In: how many in a row. Out: the first of them. Never: a port that somebody else is given meanwhile,
the kernel and the other processes of a test run included.
"""

from __future__ import annotations

import os
import secrets

from deploy.local.machine import busy_ports

# Below those that the kernel gives to connections, and to who asks for any port.
_LOWEST, _OF_A_WORKER, _WORKERS = 10_000, 2_500, 8
_given: set[int] = set()


def free_ports(count: int = 1) -> int:
    """Return the first of so many ports in a row that nobody listens on and nobody was given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    lowest = _LOWEST + worker * _OF_A_WORKER
    while True:
        first = secrets.choice(range(lowest, lowest + _OF_A_WORKER - count))
        ports = range(first, first + count)
        named = {str(each): each for each in ports}
        if _given.isdisjoint(ports) and not busy_ports("127.0.0.1", named):
            _given.update(ports)
            return first
