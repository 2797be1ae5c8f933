"""The certificate that HTTP is served with, read again when its files change.

In: the files of a certificate (with its chain) and of its key. Out: a context for listening, which
gives each new connection the newest certificate that was good. Never: TLS before 1.2, a connection
dropped for a new certificate, a damaged file taken in the place of a good one.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from runtime.settled_files import settled

CHECKED_EVERY_S = 1.0
# Forward secrecy and authenticated encryption alone; TLS 1.3 has nothing else to choose from.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_END = "-----END CERTIFICATE-----"

_log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int, int], ...]


class CertificateError(Exception):
    """A certificate that cannot be used; the message names the files and what is wrong."""


class Certificate:
    """A certificate and its key, in files.

    Raises:
        CertificateError: they cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._tried = self._stamp()
        self._newest = self._load()
        # This one listens; each handshake is handed on to the newest.
        self.context = self._load()
        self.context.sni_callback = self._hand_on

    async def watch(self) -> None:
        """Read the files again whenever they have changed, for ever."""
        async for stamp in settled(self._stamp, CHECKED_EVERY_S):
            if stamp != self._tried:
                self._tried = stamp
                self._take_newest()

    def _take_newest(self) -> None:
        try:
            self._newest = self._load()
        except CertificateError as error:
            _log.error("%s The certificate read before stays in use.", error)
        else:
            _log.info("The certificate in %s has changed and is in use.", self._files[0])

    def _hand_on(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            # A password is never asked for: nobody sits there to type it.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise CertificateError(
                f"The certificate {certificate} with the key {key} cannot be used "
                f"({_reason(error)}): TRACK_TLS_CERTIFICATE names a PEM file with the certificate "
                "and its chain, TRACK_TLS_KEY one with its key, without a password."
            ) from error
        return context

    def _stamp(self) -> _Stamp:
        """Return what changes when a file does; nothing of a file that is not there."""
        stamps = []
        for each in self._files:
            try:
                status = each.stat()
            except OSError:
                continue
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(stamps)


def trusting(certificate: Path) -> ssl.SSLContext:
    """Return a context that trusts the first certificate in a file and no other.

    For calls to a service on this machine by its address, which stands in no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    first, end, _ = certificate.read_text().partition(_END)
    context.load_verify_locations(cadata=first + end)
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
