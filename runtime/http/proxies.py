"""The proxies whose word about a request is taken.

In: their addresses and networks, as a setting names them. Out: whether an address is one of them.
Never: a name that has to be looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Self


@dataclass(frozen=True, slots=True)
class Proxies:
    """Networks; a single address is a network of one."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the proxies that a text names, separated by commas; none for an empty one.

        Raises:
            ValueError: a part is neither an address nor a network; the message names it.
        """
        parts = [each.strip() for each in text.split(",")]
        return cls(tuple(_network(part) for part in parts if part))

    def names(self, address: str) -> bool:
        """Tell whether an address is one of them; what is no address is not."""
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self.networks)


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own."""
    parsed = parse_address(address)
    return parsed is not None and parsed.is_loopback


def parse_address(address: str) -> IPv4Address | IPv6Address | None:
    """Return an address, an IPv4 one that is written as IPv6 as what it is; None if it is none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address and no network, like 10.0.0.7 or 10.0.0.0/24"
        ) from None
