"""Why Kafka does not let a client in, in a sentence that names the setting.

In: the servers, and the error of a client. Out: a sentence. Never: a password in it.

aiokafka tells only that it could not connect, whatever the reason; so it is tried once more here.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from aiokafka.conn import create_conn, get_ip_port_afi
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from runtime.kafka.servers import MECHANISM, KafkaServers

FORBIDDEN = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
_TRY_WITHIN_MS = 3_000


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a client has failed with.

    Attributes:
        sentence: for people: what it is, and what to look at.
        lasts: whether settings or rules must be changed; else waiting may be enough.
    """

    sentence: str
    lasts: bool


async def explain_failure(servers: KafkaServers, error: BaseException) -> str:
    """Return a sentence on what a client has failed with, and what to look at."""
    return (await explain(servers, error)).sentence


async def explain(servers: KafkaServers, error: BaseException) -> Explanation:
    """Return what a client has failed with, and whether it will last."""
    if isinstance(error, FORBIDDEN):
        return Explanation(
            f"Kafka does not let {_who(servers)} do what it must ({error}). `track acls` lists "
            "what each service has to be allowed.",
            lasts=True,
        )
    said = await _try_to_enter(servers) if isinstance(error, KafkaConnectionError) else None
    return said or Explanation(
        f"Kafka ({servers}) does not answer: {str(error) or type(error).__name__}. Start it, or "
        "name another one with TRACK_KAFKA.",
        lasts=False,
    )


def _who(servers: KafkaServers) -> str:
    return f"the user {servers.user}" if servers.user else "a client without a user"


async def _try_to_enter(servers: KafkaServers) -> Explanation | None:
    """Connect to each server; return what may be wrong with a setting, None if that is not it."""
    said = None
    for address in servers.addresses.split(","):
        said = said or await _explanation_of(servers, address)
    return said


async def _explanation_of(servers: KafkaServers, address: str) -> Explanation | None:
    try:
        said = await _refusal_of(servers, address)
    except KafkaError:
        # A broker that stands still looks like one that is spoken to in the wrong way.
        return Explanation(
            f"What listens at {address} does not answer in {servers.security}; check "
            "TRACK_KAFKA_SECURITY and the port in TRACK_KAFKA.",
            lasts=False,
        )
    return Explanation(said, lasts=True) if said else None


async def _refusal_of(servers: KafkaServers, address: str) -> str | None:
    host, port, _ = get_ip_port_afi(address)
    try:
        connection = await create_conn(
            host, port, request_timeout_ms=_TRY_WITHIN_MS, **servers.entrance()
        )
        try:
            await connection.send(MetadataRequest([]))
        finally:
            connection.close()
    except (SaslAuthenticationFailed, AuthenticationFailedError):
        return (
            f"Kafka ({address}) does not know the user {servers.user} with this password; check "
            "TRACK_KAFKA_USER and TRACK_KAFKA_PASSWORD."
        )
    except UnsupportedSaslMechanismError:
        return f"Kafka ({address}) does not offer {MECHANISM}; turn it on at the broker."
    except ssl.SSLCertVerificationError as error:
        return (
            f"Kafka's certificate ({address}) is not trusted: {error.verify_message}. Check "
            "TRACK_KAFKA_CA and the name in TRACK_KAFKA."
        )
    except ssl.SSLError as error:
        return (
            f"Kafka ({address}) does not speak TLS ({error.reason}); check TRACK_KAFKA_SECURITY "
            "and the port in TRACK_KAFKA."
        )
    except OSError:
        return None  # nobody listens
    return None
