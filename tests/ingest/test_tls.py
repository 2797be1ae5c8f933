"""The service over TLS, as a process: who may connect; a certificate that changes under load."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import subprocess
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from runtime.http.tls import CHECKED_EVERY_S
from runtime.settings import Settings
from tests.certificates import Authority
from tests.environments import environment_of
from tests.ingest.service import TRACK, Service, read_events, start

HOST = "127.0.0.1"
EVENT = b'{"event":"play","user_id":"u"}'
NOTICED_WITHIN_S = 3 * CHECKED_EVERY_S + 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.issue(HOST, "localhost")
    return made


@pytest.fixture(scope="module")
def secure(
    migrated: Settings, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = dataclasses.replace(
        migrated, tls_certificate=str(authority.certificate), tls_key=str(authority.key)
    )
    with start(settings, tmp_path_factory.mktemp("tls")) as service:
        service.wait_until("/readyz", 200)
        yield service


def handshake(service: Service, context: ssl.SSLContext) -> tuple[bytes, str]:
    """Return the certificate that is shown, and the version that was agreed on."""
    with (
        socket.create_connection(service.address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        shown, version = connection.getpeercert(binary_form=True), connection.version()
        assert shown is not None
        assert version is not None
        return shown, version


def test_an_event_over_a_good_chain(secure: Service, authority: Authority) -> None:
    with httpx.Client(base_url=secure.url, verify=authority.trusting()) as client:
        for number in range(3):
            body = b'{"event":"play","user_id":"u","event_id":"tls-%d"}' % number
            assert client.post("/track", content=body).status_code == 200
        assert client.get("/livez").status_code == 200
    ids = {each.event_id for each in read_events(secure.settings)}
    assert {"tls-0", "tls-1", "tls-2"} <= ids


def test_a_client_without_a_name_gets_the_certificate_too(
    secure: Service, authority: Authority
) -> None:
    context = authority.trusting()
    context.check_hostname = False
    with (
        socket.create_connection(secure.address, timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() is None


def test_another_authority_is_not_trusted(secure: Service, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(secure, Authority(tmp_path).trusting())


def test_nothing_before_tls_1_2(secure: Service, authority: Authority) -> None:
    context = authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(secure, context)[1] == "TLSv1.2"
    old = authority.trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(secure, old)


@pytest.mark.parametrize(
    "cipher", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"]
)
def test_no_cipher_without_forward_secrecy_or_authentication(
    secure: Service, authority: Authority, cipher: str
) -> None:
    context = authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(secure, context)


def test_plain_http_on_the_port_of_tls_gets_nothing(secure: Service, authority: Authority) -> None:
    with socket.create_connection(secure.address, timeout=10) as connection:
        connection.sendall(b"POST /track HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not connection.recv(100).startswith(b"HTTP")
    handshake(secure, authority.trusting())
    assert "Traceback" not in secure.log.read_text()


async def _load(service: Service, context: ssl.SSLContext, until: asyncio.Event) -> int:
    """Send over connections that are kept, and over new ones; return how many were answered."""
    answered = 0
    limits = httpx.Limits(max_keepalive_connections=1)
    async with httpx.AsyncClient(base_url=service.url, verify=context, limits=limits) as kept:
        while not until.is_set():
            assert (await kept.post("/track", content=EVENT)).status_code == 200
            async with httpx.AsyncClient(base_url=service.url, verify=context) as new:
                assert (await new.post("/track", content=EVENT)).status_code == 200
            answered += 2
        stream = kept._transport
        assert len(stream._pool.connections) == 1  # type: ignore[attr-defined]
    return answered


@pytest.mark.anyio
async def test_a_new_certificate_is_taken_under_load_and_a_damaged_one_is_not(
    secure: Service, authority: Authority
) -> None:
    async def shown() -> bytes:
        return (await asyncio.to_thread(handshake, secure, authority.trusting()))[0]

    async def wait_until(is_so: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(NOTICED_WITHIN_S):
            while not await is_so():  # noqa: ASYNC110  # files and another process send no event
                await asyncio.sleep(0.1)

    async def wait_for(certificate: bytes) -> None:
        async def is_shown() -> bool:
            return await shown() == certificate

        await wait_until(is_shown)

    async def wait_for_words(words: str) -> None:
        async def is_said() -> bool:
            return words in secure.log.read_text()

        await wait_until(is_said)

    until = asyncio.Event()
    load = [asyncio.create_task(_load(secure, authority.trusting(), until)) for _ in range(4)]
    try:
        new = authority.issue(HOST)
        await wait_for(new)
        authority.certificate.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n")
        await wait_for_words("stays in use")
        assert await shown() == new
        authority.issue(HOST)
        authority.key.write_bytes(authority.other_key())
        await wait_for_words("key values mismatch")
        assert await shown() == new
        authority.key.unlink()
        await wait_for_words("No such file")
        newest = authority.issue(HOST)
        await wait_for(newest)
    finally:
        until.set()
        answered = await asyncio.gather(*load)
    assert min(answered) > 10
    assert "Traceback" not in secure.log.read_text()


def test_an_address_that_others_reach_needs_a_way_to_be_safe(migrated: Settings) -> None:
    named = environment_of(dataclasses.replace(migrated, host="0.0.0.0", open="yes"))
    done = subprocess.run([TRACK, "query"], env=named, capture_output=True, timeout=90, check=False)
    assert done.returncode == 78
    said = done.stderr.decode()
    assert said.startswith("TRACK_HOST is 0.0.0.0, which other machines reach")
    assert said.count("\n") == 1
