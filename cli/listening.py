"""Where the HTTP services listen, and what they may take there.

In: settings. Out: a certificate, the rule for plain requests, a bound socket. Never: an address
that other machines reach where neither TLS nor a proxy that has it is named, unless a setting says
so.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.http.exposure import is_of_this_machine
from runtime.http.plain_http import objections_to
from runtime.http.proxies import Proxies
from runtime.http.refusals import Objection
from runtime.http.tls import Certificate, CertificateError
from runtime.settings import Settings
from runtime.startup import StartupError

_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Doors:
    """What a service listens with.

    Attributes:
        host, port: where.
        certificate: what TLS is served with; None for plain HTTP.
        object_to: gives what looks at the plain requests of a peer; None where all are taken.
    """

    host: str
    port: int
    certificate: Certificate | None
    object_to: Callable[[str], Objection | None] | None

    def bind(self) -> socket.socket:
        """Return a socket bound to the address, which other processes may bind as well.

        Raises:
            StartupError: it cannot be had.
        """
        family, address = _resolve(self.host, self.port)
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind(address)
        except OSError as error:
            listening.close()
            raise StartupError(
                f"Cannot listen on {self.host} port {self.port} ({error.strerror}); "
                "set TRACK_HOST and TRACK_PORT to a free address of this machine."
            ) from error
        return listening


def open_doors(settings: Settings) -> Doors:
    """Return what the services listen with.

    Raises:
        StartupError: other machines would reach it plainly, or the certificate cannot be used.
    """
    problem = plain_problem(settings)
    if problem is not None:
        raise StartupError(problem)
    return Doors(settings.host, settings.port, _certificate(settings), _rule(settings))


def plain_problem(settings: Settings) -> str | None:
    """Return why the services may not listen on the address that is set; None if they may."""
    if settings.tls_certificate or settings.proxies or settings.plain_http == "yes":
        return None
    _resolve(settings.host, settings.port)  # a host that is none is told as that
    if is_of_this_machine(settings.host):
        return None
    return (
        f"TRACK_HOST is {settings.host}, which other machines reach, and nothing says how they do "
        "it safely: set TRACK_TLS_CERTIFICATE and TRACK_TLS_KEY, or TRACK_PROXIES to the proxies "
        "that have TLS, or TRACK_PLAIN_HTTP to yes to take plain HTTP from everybody."
    )


def _certificate(settings: Settings) -> Certificate | None:
    if not settings.tls_certificate:
        return None
    try:
        return Certificate(Path(settings.tls_certificate), Path(settings.tls_key))
    except CertificateError as error:
        raise StartupError(str(error)) from error


def _rule(settings: Settings) -> Callable[[str], Objection | None] | None:
    if settings.plain_http == "yes":
        return None
    return objections_to(Proxies.parse(settings.proxies))


def _resolve(host: str, port: int) -> _Address:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise StartupError(
            f"TRACK_HOST is {host}, which is no address of this machine ({error.strerror})."
        ) from error
    return found[0], found[4]
