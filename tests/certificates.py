"""Certificates of an authority that a test makes for itself.

In: names. Out: files as the settings name them, and contexts that trust the authority. Never: a
file outside the folder that was given.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


class Authority:
    """An authority of its own; `certificate` and `key` are where a service finds its files."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.certificate = folder / "site.pem"
        self.key = folder / "site.key"

    def issue(self, *names: str) -> bytes:
        """Write a certificate with its chain, and its key; return the certificate as DER."""
        issued = self._authority.issue_cert(*names)
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        self.certificate.write_bytes(chain)
        self.key.write_bytes(issued.private_key_pem.bytes())
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    def other_key(self) -> bytes:
        """Return a key that belongs to another certificate."""
        return bytes(self._authority.issue_cert("other.example").private_key_pem.bytes())

    def locked_key(self) -> bytes:
        """Return the key under a password."""
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        return context
