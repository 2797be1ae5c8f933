"""Whom a service lets in, before it listens: with keys anybody who has one, without them everybody.

In: settings, and whether there are keys. Out: a sentence for people, or a refusal to start. Never:
a service that is open to other machines because somebody forgot something.
"""

from __future__ import annotations

import socket

from runtime.access.key_ring import KeyRing
from runtime.http.proxies import is_loopback
from runtime.settings import Settings
from runtime.startup import StartupError


def require_guarded(settings: Settings, ring: KeyRing) -> str:
    """Return a sentence that says who may come in.

    Raises:
        StartupError: without keys the service would be open to other machines, and no setting says
            that it shall be.
    """
    keys = ring.keys
    if keys is not None:
        return f"{_number_of(len(keys))} in {settings.keys_file}; whoever has none is refused"
    if is_of_this_machine(settings.host):
        return "none asked for: open to this machine alone, until `track keys new NAME` makes one"
    if settings.open != "yes":
        raise StartupError(
            f"Without keys everybody who reaches {settings.host} could send and ask: make one with "
            "`track keys new NAME`, or listen on 127.0.0.1 (TRACK_HOST), or set TRACK_OPEN=yes."
        )
    return f"none asked for (TRACK_OPEN): open to everybody who reaches {settings.host}"


def is_of_this_machine(host: str) -> bool:
    """Tell whether only this machine reaches what listens on a host, whatever its name means."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(is_loopback(str(address[0])) for *_, address in found)


def _number_of(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys} keys"
