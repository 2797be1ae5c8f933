"""Who sent a request, by its connection and by what named proxies say."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from runtime.http.client_addresses import NO_ADDRESS, ClientAddresses
from runtime.http.proxies import Proxies


def name(host: str, *forwarded: str, proxies: str = "") -> bytes:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", each.encode()) for each in forwarded)]
    addresses = ClientAddresses(Proxies.parse(proxies))
    scope = {"client": (host, 1), "headers": headers}
    first = addresses.name_of(scope, dict(headers))
    assert addresses.name_of(scope, dict(headers)) == first
    return first


def packed(address: str) -> bytes:
    return ip_address(address).packed


def test_an_ipv4_address_is_itself() -> None:
    assert name("192.0.2.7") == packed("192.0.2.7")
    assert name("0.0.0.0") == packed("0.0.0.0")
    assert name("::ffff:192.0.2.7") == packed("192.0.2.7")


def test_an_ipv6_address_is_its_64() -> None:
    assert name("2001:db8:1:2:3:4:5:6") == name("2001:db8:1:2::") == packed("2001:db8:1:2::")[:8]
    assert name("2001:db8:1:3::") != name("2001:db8:1:2::")
    assert name("fe80::1%eth0") == packed("fe80::")[:8]


def test_a_socket_without_an_address_has_one_name() -> None:
    assert ClientAddresses(Proxies()).name_of({"client": None, "headers": []}, {}) == NO_ADDRESS
    assert name("") == NO_ADDRESS


def test_only_a_named_proxy_is_believed() -> None:
    assert name("192.0.2.7", "198.51.100.1") == packed("192.0.2.7")
    assert name("192.0.2.7", "198.51.100.1", proxies="192.0.2.8") == packed("192.0.2.7")
    assert name("192.0.2.7", "198.51.100.1", proxies="192.0.2.7") == packed("198.51.100.1")
    assert name("192.0.2.7", "198.51.100.1", proxies="192.0.2.0/24") == packed("198.51.100.1")
    assert name("::ffff:192.0.2.7", "198.51.100.1", proxies="192.0.2.7") == packed("198.51.100.1")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # what a client claims stands first
        (["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        (["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        (["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        (["198.51.100.1:4711"], "198.51.100.1"),
        (["[2001:db8::1]:443"], "2001:db8::"),
        (["2001:db8::1"], "2001:db8::"),
        (["198.51.100.1, unknown"], "10.0.0.1"),
        (["198.51.100.1, "], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["\xff\0" * 20_000], "10.0.0.1"),
        (["10.0.0.2," * 5_000 + "198.51.100.1"], "198.51.100.1"),
    ],
)
def test_the_last_that_is_no_proxy_is_the_client(forwarded: list[str], client: str) -> None:
    address = ip_address(client)
    wanted = address.packed if address.version == 4 else address.packed[:8]
    assert name("10.0.0.1", *forwarded, proxies="10.0.0.0/8") == wanted


def test_memory_does_not_grow_with_the_addresses() -> None:
    addresses = ClientAddresses(Proxies.parse("10.0.0.1"))
    for number in range(30_000):
        host = str(ip_address(0x0B000000 + number))
        addresses.name_of({"client": (host, 1), "headers": []}, {})
        forwarded = [(b"x-forwarded-for", host.encode() + b" " * (number % 1000))]
        scope = {"client": ("10.0.0.1", 1), "headers": forwarded}
        assert addresses.name_of(scope, dict(forwarded)) == packed(host)
    assert len(addresses._names) <= 10_000
    assert len(addresses._names_behind) <= 10_000
    assert max(len(said) for _, said in addresses._names_behind) <= 256
