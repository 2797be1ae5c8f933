"""Which Kafka, and how one enters it: the one place that turns settings into clients' arguments.

In: bootstrap servers, a user, a password, certificates. Out: the arguments for every client. Never:
a client or its library; a password in what is printed.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

SECURITIES = PLAINTEXT, SSL, SASL_SSL = ("PLAINTEXT", "SSL", "SASL_SSL")
MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class KafkaServers:
    """Bootstrap servers and who asks; as a text, the servers alone."""

    addresses: str
    security: str = PLAINTEXT
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)

    def __str__(self) -> str:
        """The addresses, for messages."""
        return self.addresses

    def client_arguments(self) -> dict[str, Any]:
        """Return what every client of aiokafka is made with."""
        return {"bootstrap_servers": self.addresses, **self.entrance()}

    def entrance(self) -> dict[str, Any]:
        """Return those of the arguments that say how one enters; none for a plain connection."""
        if self.security == PLAINTEXT:
            return {}
        arguments: dict[str, Any] = {
            "security_protocol": self.security,
            "ssl_context": self.ssl_context,
        }
        if self.security == SASL_SSL:
            arguments |= {
                "sasl_mechanism": MECHANISM,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return arguments

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """How the certificates of the brokers are checked, their names included."""
        return trusting(self.ca)


@lru_cache(maxsize=4)
def trusting(ca: str) -> ssl.SSLContext:
    """Return what trusts the authorities of a PEM text, those of the system if it is empty.

    Made once, since it takes milliseconds.

    Raises:
        ssl.SSLError, ValueError: the text holds no certificate.
    """
    context = ssl.create_default_context(cadata=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
