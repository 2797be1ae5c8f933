"""Which plain requests are taken, by the address of the peer and what a proxy says."""

from __future__ import annotations

import pytest

from runtime.http.plain_http import objections_to
from runtime.http.proxies import Proxies, is_loopback
from runtime.http.refusals import HTTPS_REQUIRED
from tests.runtime.http.connections import Connections, settle

PROXIES = Proxies.parse("10.0.0.7, 10.1.0.0/16,fd00::/8, 127.0.0.9")
HTTPS = [(b"x-forwarded-proto", b"https")]


def is_taken(
    address: str, *headers: tuple[bytes, bytes], url: bytes = b"/track", proxies: Proxies = PROXIES
) -> bool:
    objection = objections_to(proxies)(address)
    answer = objection(url, headers) if objection is not None else None
    assert answer in (None, HTTPS_REQUIRED)
    return answer is None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.9"])
def test_this_machine_may_ask_plainly(address: str) -> None:
    assert is_taken(address)
    assert is_taken(address, *HTTPS)


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.8", "2001:db8::1", "fe80::1%eth0", ""])
def test_another_machine_may_not_whatever_it_says(address: str) -> None:
    assert not is_taken(address)
    assert not is_taken(address, *HTTPS)
    assert not is_taken(address, *HTTPS, url=b"/readyz/")
    assert not is_taken(address, *HTTPS, url=b"/livez?x")
    assert is_taken(address, url=b"/livez")
    assert is_taken(address, url=b"/readyz")


@pytest.mark.parametrize("address", ["10.0.0.7", "10.1.255.1", "::ffff:10.0.0.7", "fd12::3"])
def test_a_proxy_that_is_named_vouches_for_https(address: str) -> None:
    assert is_taken(address, *HTTPS)
    assert is_taken(address, (b"x-forwarded-proto", b" HTTPS "))
    assert not is_taken(address, *HTTPS, proxies=Proxies())
    assert not is_taken(address)
    assert not is_taken(address, (b"x-forwarded-proto", b"http"))
    assert not is_taken(address, (b"x-forwarded-proto", b""))
    assert not is_taken(address, (b"forwarded", b"proto=https"))


def test_a_client_cannot_add_its_own_word_to_the_proxy_s() -> None:
    for forged in ([b"https, http"], [b"http, https"], [b"https", b"http"], [b"http", b"https"]):
        headers = [(b"x-forwarded-proto", each) for each in forged]
        assert not is_taken("10.0.0.7", *headers)
        assert not is_taken("127.0.0.9", *headers)


def test_a_proxy_on_this_machine_is_believed_when_it_says_http() -> None:
    assert not is_taken("127.0.0.9", (b"x-forwarded-proto", b"http"))
    assert is_taken("127.0.0.1", (b"x-forwarded-proto", b"http"))  # nobody has named it


@pytest.mark.parametrize(
    "text", ["proxy", "10.0.0.0/33", "10.0.0.7/8", "10.0.0.7;10.0.0.8", "::/129"]
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no address and no network"):
        Proxies.parse(f"10.0.0.1,{text}")


def test_no_proxies_name_nobody() -> None:
    assert not Proxies.parse(" , ").names("127.0.0.1")
    assert not PROXIES.names("rubbish")
    assert not is_loopback("rubbish")


@pytest.mark.anyio
async def test_a_plain_request_is_refused_before_its_body() -> None:
    protocol, transport = Connections(object_to=objections_to(Proxies())).connect("192.0.2.1")
    protocol.data_received(b"POST /track HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    await settle()
    assert transport.sent == HTTPS_REQUIRED
    assert transport.sent.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b'"code":"https_required","message":"Use https: ' in transport.sent
    assert transport.is_ended


@pytest.mark.anyio
async def test_health_is_told_plainly_on_the_same_connection_again_and_again() -> None:
    protocol, transport = Connections(object_to=objections_to(Proxies())).connect("192.0.2.1")
    for number in range(1, 4):
        protocol.data_received(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        await settle()
        assert transport.sent.count(b"HTTP/1.1 200") == number
    protocol.data_received(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await settle()
    assert transport.sent.endswith(HTTPS_REQUIRED)
