"""Where a request comes from, as far as limits go: an IPv4 address, or the /64 of an IPv6 one.

In: the address of a connection, and what proxies say of their clients. Out: a name for the one who
sent it. Never: a word of anybody's who is not a named proxy; memory that grows with the addresses.

A provider gives each customer a /64 at least, so its addresses are those of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from runtime.http.proxies import Proxies, parse_address

FORWARDED = b"x-forwarded-for"
NO_ADDRESS = b"local"  # a socket of this machine's file system has none
_MOST_REMEMBERED = 10_000
_LONGEST_REMEMBERED = 256

Told = TypeVar("Told")
_Address = IPv4Address | IPv6Address


class ClientAddresses:
    """Names of clients, remembered by what they were told from."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        self._asks_proxies = bool(proxies.networks)
        self._names: dict[str, bytes] = {}
        self._names_behind: dict[tuple[str, bytes], bytes] = {}

    def name_of(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> bytes:
        """Return the name of the client of an ASGI request; `headers` are its own, by name."""
        client = scope.get("client")
        if client is None:
            return NO_ADDRESS
        host: str = client[0]
        if self._asks_proxies and FORWARDED in headers:
            return self._name_behind(host, scope, headers)
        return self._names.get(host) or _remember(self._names, host, _name_of(host))

    def _name_behind(
        self, host: str, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]
    ) -> bytes:
        said = headers[FORWARDED]
        if len(headers) != len(scope["headers"]):
            said = b",".join(value for name, value in scope["headers"] if name == FORWARDED)
        told = host, said
        name = self._names_behind.get(told)
        if name is None:
            name = _name_of(self._find(host, said))
            if len(said) <= _LONGEST_REMEMBERED:
                _remember(self._names_behind, told, name)
        return name

    def _find(self, host: str, said: bytes) -> str:
        """Return the last address that is not a proxy's; the proxies wrote all behind it."""
        for part in reversed(said.decode("latin-1").split(",")):
            if not self._proxies.names(host):
                break
            address = _parse(part)
            if address is None:
                break  # no proxy writes that; who did is not known
            host = str(address)
        return host


def _remember(memory: dict[Told, bytes], told: Told, name: bytes) -> bytes:
    if len(memory) >= _MOST_REMEMBERED:
        memory.clear()
    memory[told] = name
    return name


def _name_of(host: str) -> bytes:
    address = _parse(host)
    if address is None:
        return NO_ADDRESS
    return address.packed if isinstance(address, IPv4Address) else address.packed[:8]


def _parse(text: str) -> _Address | None:
    """Return an address, which proxies may write with a port; None where it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)
