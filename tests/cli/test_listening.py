"""Where services listen, and what they take there, as far as settings decide it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cli.listening import open_doors
from runtime.settings import Settings
from runtime.startup import StartupError
from tests.certificates import Authority


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_alone_needs_nothing(host: str) -> None:
    assert open_doors(dataclasses.replace(Settings(), host=host)).certificate is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"])
def test_an_address_that_others_reach_needs_a_way_to_be_safe(host: str, tmp_path: Path) -> None:
    unsafe = dataclasses.replace(Settings(), host=host)
    with pytest.raises(StartupError, match=f"TRACK_HOST is {host}, which other machines reach"):
        open_doors(unsafe)
    assert open_doors(dataclasses.replace(unsafe, proxies="10.0.0.1")).object_to is not None
    assert open_doors(dataclasses.replace(unsafe, plain_http="yes")).object_to is None
    authority = Authority(tmp_path)
    authority.issue("localhost")
    files = {"tls_certificate": str(authority.certificate), "tls_key": str(authority.key)}
    assert open_doors(dataclasses.replace(unsafe, **files)).certificate is not None  # type: ignore[arg-type]


def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(StartupError, match=r"TRACK_HOST is nowhere\.invalid, which is no address"):
        open_doors(dataclasses.replace(Settings(), host="nowhere.invalid"))


@pytest.mark.parametrize("wrong", ["no key", "no certificate", "other key", "rubbish", "password"])
def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, wrong: str) -> None:
    authority = Authority(tmp_path)
    authority.issue("localhost")
    certificate, key = authority.certificate, authority.key
    match wrong:
        case "no key":
            key.unlink()
        case "no certificate":
            certificate.write_bytes(key.read_bytes())
        case "other key":
            key.write_bytes(authority.other_key())
        case "rubbish":
            certificate.write_bytes(b"\xff\x00" * 100)
        case "password":
            key.write_bytes(authority.locked_key())
    settings = dataclasses.replace(Settings(), tls_certificate=str(certificate), tls_key=str(key))
    with pytest.raises(StartupError, match="cannot be used") as caught:
        open_doors(settings)
    for named in (str(certificate), str(key), "TRACK_TLS_CERTIFICATE", "TRACK_TLS_KEY"):
        assert named in str(caught.value)
