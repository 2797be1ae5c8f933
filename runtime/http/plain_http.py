"""Which requests may come without TLS: those of this machine, and those that a proxy had over TLS.

In: the address of a peer, then the headers of its requests. Out: None, or the answer that refuses.
Never: a header of a peer that is not named as a proxy is believed, a body is read.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.http.proxies import Proxies, is_loopback
from runtime.http.refusals import HTTPS_REQUIRED, Headers, Objection

_FORWARDED = b"x-forwarded-proto"
# What a load balancer asks; it says nothing that anybody could not know.
OPEN_PATHS = (b"/livez", b"/readyz")


def objections_to(proxies: Proxies) -> Callable[[str], Objection | None]:
    """Return what gives, for the address of a peer, what looks at its plain requests."""

    def objection_to(address: str) -> Objection | None:
        local = is_loopback(address)
        if proxies.names(address):
            return _refuse_unless_open if local else _refuse_unless_forwarded
        return None if local else _refuse

    return objection_to


def _refuse(url: bytes, _: Headers) -> bytes | None:
    """Refuse a peer from outside."""
    return None if url in OPEN_PATHS else HTTPS_REQUIRED


def _refuse_unless_forwarded(url: bytes, headers: Headers) -> bytes | None:
    """Refuse what a proxy did not have over https, or does not say so."""
    return None if _forwarded(headers) == {b"https"} else _refuse(url, headers)


def _refuse_unless_open(url: bytes, headers: Headers) -> bytes | None:
    """Refuse what a proxy on this machine had plainly; where it says nothing, the call is local."""
    return None if _forwarded(headers) <= {b"https"} else _refuse(url, headers)


def _forwarded(headers: Headers) -> set[bytes]:
    """Return every scheme that is named: a client may have put one there before its proxy did."""
    return {
        scheme.strip().lower()
        for name, value in headers
        if name == _FORWARDED
        for scheme in value.split(b",")
    }
