"""Every setting of every service, read once from the environment.

In: a mapping of environment variables, and the files that some of them name. Out: a frozen
`Settings`. Never: a global, a default that depends on the machine.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contracts.events import MAX_EVENT_BYTES
from runtime.http.proxies import Proxies
from runtime.kafka.servers import PLAINTEXT, SASL_SSL, SECURITIES, KafkaServers, trusting

_MOST_DIGITS = 18  # any more would not be a 64-bit number to Kafka and ClickHouse
_LEAST_DAYS_A_MONTH = 28


class SettingsError(Exception):
    """A setting that cannot be used; the message names the variable and what it may be."""


def _setting(name: str, default: object, about: str, *, secret: bool = False) -> Any:
    """A field with its variable; a secret stays out of what is printed of the settings."""
    return field(default=default, metadata={"name": name, "about": about}, repr=not secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one pipeline; each field carries its environment variable and its meaning."""

    home: Path = _setting("TRACK_HOME", Path(".local"), "folder of data, logs and process files")
    host: str = _setting("TRACK_HOST", "127.0.0.1", "address that the HTTP services listen on")
    port: int = _setting("TRACK_PORT", 8000, "the one HTTP port")
    tls_certificate: str = _setting("TRACK_TLS_CERTIFICATE", "", "file of the certificate, chained")
    tls_key: str = _setting("TRACK_TLS_KEY", "", "file of the certificate's key")
    proxies: str = _setting(
        "TRACK_PROXIES", "", "addresses and networks of proxies whose X-Forwarded headers count"
    )
    plain_http: str = _setting(
        "TRACK_PLAIN_HTTP", "no", "yes: plain HTTP is taken from other machines too"
    )
    in_flight_bytes: int = _setting(
        "TRACK_IN_FLIGHT_BYTES", 64 * 1024 * 1024, "bodies that one process holds at once"
    )
    open: str = _setting(
        "TRACK_OPEN", "no", "yes: serve without keys on an address that others reach"
    )
    keys: str = _setting("TRACK_KEYS", "", "file of the keys; empty = keys in TRACK_HOME")
    key: str = _setting("TRACK_KEY", "", "key that commands show the HTTP services", secret=True)
    rate_per_key: int = _setting(
        "TRACK_RATE_PER_KEY", 0, "most events, or questions, a second with a key; 0 = no limit"
    )
    rate_per_address: int = _setting(
        "TRACK_RATE_PER_ADDRESS", 0, "the same from an address; 0 = no limit"
    )
    rate_burst_s: int = _setting(
        "TRACK_RATE_BURST_S", 10, "seconds over which the limits are counted"
    )
    kafka: str = _setting("TRACK_KAFKA", "", "bootstrap servers that somebody has already")
    kafka_security: str = _setting(
        "TRACK_KAFKA_SECURITY", "PLAINTEXT", "how Kafka is spoken to: PLAINTEXT, SSL or SASL_SSL"
    )
    kafka_user: str = _setting("TRACK_KAFKA_USER", "", "user at Kafka (SCRAM-SHA-512)")
    kafka_password: str = _setting("TRACK_KAFKA_PASSWORD", "", "password at Kafka", secret=True)
    kafka_ca: str = _setting(
        "TRACK_KAFKA_CA", "", "certificates (PEM) of who signed Kafka's; default: the system's"
    )
    kafka_port: int = _setting("TRACK_KAFKA_PORT", 9092, "port of the local Kafka")
    clickhouse: str = _setting(
        "TRACK_CLICKHOUSE",
        "",
        "URL, user and password included, of a ClickHouse that exists",
        secret=True,
    )
    clickhouse_port: int = _setting("TRACK_CLICKHOUSE_PORT", 8123, "HTTP port, local ClickHouse")
    clickhouse_native_port: int = _setting(
        "TRACK_CLICKHOUSE_NATIVE_PORT", 9000, "native port of the local ClickHouse"
    )
    namespace: str = _setting(
        "TRACK_NAMESPACE", "track", "first word of topics and groups, and the database's name"
    )
    partitions: int = _setting("TRACK_PARTITIONS", 12, "partitions of each topic, for ever")
    replication: int = _setting("TRACK_REPLICATION", 1, "copies of each topic")
    opens: str = _setting("TRACK_OPENS", "play", "name of the event that opens a session")
    closes: str = _setting("TRACK_CLOSES", "stop", "name of the event that closes a session")
    segment_video: str = _setting(
        "TRACK_SEGMENT_VIDEO", "no", "yes: Segment's Video Playback events open and close sessions"
    )
    waiting_stop_ms: int = _setting(
        "TRACK_WAITING_STOP_MS", 600_000, "how long a stop waits for a late play; 0 = not at all"
    )
    open_play_ms: int = _setting(
        "TRACK_OPEN_PLAY_MS", 30 * 86_400_000, "how long after its arrival a play may be closed"
    )
    duplicate_window: int = _setting(
        "TRACK_DUPLICATE_WINDOW", 1_000_000, "offsets over which an event_id is remembered"
    )
    events_days: int = _setting("TRACK_EVENTS_DAYS", 30, "days that events are kept")
    sessions_days: int = _setting("TRACK_SESSIONS_DAYS", 0, "days that sessions are kept; 0 = ever")
    counts_days: int = _setting(
        "TRACK_COUNTS_DAYS", 0, "days that counts for all users are kept; 0 = for ever"
    )
    user_counts_months: int = _setting(
        "TRACK_USER_COUNTS_MONTHS", 25, "months that counts per user are kept; 0 = for ever"
    )
    rejected_days: int = _setting("TRACK_REJECTED_DAYS", 30, "days that rejections are kept")
    analyst_seconds: int = _setting(
        "TRACK_ANALYST_SECONDS", 60, "most seconds of a question of the local ClickHouse's analyst"
    )
    analyst_memory_bytes: int = _setting(
        "TRACK_ANALYST_MEMORY_BYTES", 1_000_000_000, "most memory of such a question"
    )
    analyst_rows_read: int = _setting(
        "TRACK_ANALYST_ROWS_READ", 1_000_000_000, "most rows that such a question reads"
    )
    analyst_rows: int = _setting(
        "TRACK_ANALYST_ROWS", 1_000_000, "most rows of the answer to such a question"
    )
    analyst_threads: int = _setting("TRACK_ANALYST_THREADS", 2, "most threads of such a question")
    analyst_questions: int = _setting("TRACK_ANALYST_QUESTIONS", 10, "most such questions at once")
    analyst_hour_seconds: int = _setting(
        "TRACK_ANALYST_HOUR_SECONDS", 3600, "most seconds of such questions in an hour"
    )
    analyst_hour_questions: int = _setting(
        "TRACK_ANALYST_HOUR_QUESTIONS", 20_000, "most such questions in an hour"
    )
    analyst_hour_rows: int = _setting(
        "TRACK_ANALYST_HOUR_ROWS", 50_000_000, "most rows of such answers in an hour"
    )
    inserts_per_second: int = _setting(
        "TRACK_INSERTS_PER_SECOND", 10, "most inserts a second into a table for one partition"
    )
    http_workers: int = _setting(
        "TRACK_HTTP_WORKERS", 0, "processes that serve HTTP; 0 = one a core, at most 8"
    )
    sessionizers: int = _setting("TRACK_SESSIONIZERS", 1, "sessionizer processes")
    writers: int = _setting("TRACK_WRITERS", 1, "writer processes")
    session_timeout_ms: int = _setting(
        "TRACK_SESSION_TIMEOUT_MS", 10_000, "Kafka's session time-out of the processors"
    )
    watchdog_s: int = _setting(
        "TRACK_WATCHDOG_S", 60, "seconds of lag without progress that end a processor; 0 = never"
    )
    metrics_host: str = _setting("TRACK_METRICS_HOST", "127.0.0.1", "address for Prometheus")
    metrics_port: int = _setting(
        "TRACK_METRICS_PORT", 0, "port for Prometheus; 0 = none, with `track up` behind TRACK_PORT"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings; an empty variable is an absent one.

        A variable of the same name with `_FILE` behind it names a file that holds the value, as
        secrets are given to containers.

        Raises:
            SettingsError: a number is not a number or is out of its range, a name has characters
                that no topic or database takes, or a file cannot be read.
        """
        values: dict[str, object] = {}
        for each in fields(cls):
            text = _text_of(each.metadata["name"], environment)
            if text:
                values[each.name] = _parse(each.metadata["name"], text, each.default)
        settings = cls(**values)  # type: ignore[arg-type]
        _check(settings)
        return settings

    @property
    def kafka_servers(self) -> KafkaServers:
        """Bootstrap servers, those that were named or else the local one, and how to enter."""
        return KafkaServers(
            self.kafka or f"127.0.0.1:{self.kafka_port}",
            security=self.kafka_security,
            user=self.kafka_user,
            password=self.kafka_password,
            ca=self.kafka_ca,
        )

    @property
    def keys_file(self) -> Path:
        """The file of the keys: the one that was named, else the one in the folder."""
        return Path(self.keys) if self.keys else self.home / "keys"


# The fields that bound the questions of the local ClickHouse's analyst.
ANALYST_LIMITS = tuple(each.name for each in fields(Settings) if each.name.startswith("analyst_"))


def _text_of(name: str, environment: Mapping[str, str]) -> str:
    text, file = environment.get(name, "").strip(), environment.get(f"{name}_FILE", "").strip()
    if not file:
        return text
    if text:
        raise SettingsError(f"{name} and {name}_FILE are both set; set only one of them.")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE names {file}, which cannot be read: {error}.") from None


def _parse(name: str, text: str, default: object) -> object:
    if isinstance(default, Path):
        return Path(text)
    if not isinstance(default, int):
        return text
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise SettingsError(
            f"{name} is {text[:40]!r}; it must be a whole number, 0 or more, of at most "
            f"{_MOST_DIGITS} digits."
        )
    return int(text)


def _check(settings: Settings) -> None:
    name = settings.namespace
    if not (1 <= len(name) <= 32 and name.isascii() and name.isidentifier()):
        raise SettingsError(
            f"TRACK_NAMESPACE is {name!r}; it must be 1 to 32 letters, digits or underscores, "
            "not beginning with a digit."
        )
    for each in ("port", "kafka_port", "clickhouse_port", "clickhouse_native_port"):
        if not 1 <= getattr(settings, each) <= 65535:
            raise SettingsError(
                f"TRACK_{each.upper()} is {getattr(settings, each)}; a port is 1 to 65535."
            )
    if settings.metrics_port > 65535:
        raise SettingsError(
            f"TRACK_METRICS_PORT is {settings.metrics_port}; a port is 1 to 65535, and 0 is none."
        )
    for each in ("partitions", "replication", "sessionizers", "writers", *ANALYST_LIMITS):
        if getattr(settings, each) < 1:
            raise SettingsError(f"TRACK_{each.upper()} is 0; it must be at least 1.")
    _check_kafka(settings)
    _check_clickhouse(settings.clickhouse)
    _check_http(settings)
    if settings.opens == settings.closes:
        raise SettingsError("TRACK_OPENS and TRACK_CLOSES are the same; they must differ.")
    counted_days = _LEAST_DAYS_A_MONTH * settings.user_counts_months
    if counted_days and not 1 <= settings.events_days <= counted_days:
        # Where the rows of a user's events lie is found by the user's counts.
        raise SettingsError(
            f"TRACK_USER_COUNTS_MONTHS is {settings.user_counts_months}; counts of users must be "
            f"kept for as long as events at least, and TRACK_EVENTS_DAYS is {settings.events_days} "
            "(0 = for ever)."
        )


def _check_http(settings: Settings) -> None:
    """Check who is let in, how, and how much is taken at once."""
    if not 1 <= settings.rate_burst_s <= 3600:
        raise SettingsError(
            f"TRACK_RATE_BURST_S is {settings.rate_burst_s}; it must be 1 to 3600 seconds."
        )
    for each in ("open", "plain_http", "segment_video"):
        said = getattr(settings, each)
        if said not in ("yes", "no"):
            raise SettingsError(f"TRACK_{each.upper()} is {said!r}; it must be yes or no.")
    if settings.in_flight_bytes < MAX_EVENT_BYTES:
        raise SettingsError(
            f"TRACK_IN_FLIGHT_BYTES is {settings.in_flight_bytes}; it must be at least "
            f"{MAX_EVENT_BYTES}, one event."
        )
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingsError(
            "TRACK_TLS_CERTIFICATE and TRACK_TLS_KEY belong together; set both of them or neither."
        )
    try:
        Proxies.parse(settings.proxies)
    except ValueError as error:
        raise SettingsError(f"TRACK_PROXIES: {error}.") from None


def _check_clickhouse(url: str) -> None:
    """Refuse what is no URL of ClickHouse; the message does not show it, as it holds a password."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_one = False
    if url and not is_one:
        raise SettingsError(
            "TRACK_CLICKHOUSE is no URL like http://user:password@127.0.0.1:8123 or https://…; "
            "percent-encode what is special in the password (/ ? # @ : [ ])."
        )


def _check_kafka(settings: Settings) -> None:
    if settings.kafka_security not in SECURITIES:
        raise SettingsError(
            f"TRACK_KAFKA_SECURITY is {settings.kafka_security!r}; it must be one of "
            f"{', '.join(SECURITIES)}."
        )
    if settings.kafka_security != PLAINTEXT and not settings.kafka:
        raise SettingsError(
            f"TRACK_KAFKA_SECURITY is {settings.kafka_security}, but the local Kafka is plain; "
            "name yours with TRACK_KAFKA."
        )
    logs_in, named = (
        settings.kafka_security == SASL_SSL,
        (settings.kafka_user, settings.kafka_password),
    )
    if logs_in and not all(named):
        raise SettingsError(
            "TRACK_KAFKA_SECURITY is SASL_SSL; it needs TRACK_KAFKA_USER and TRACK_KAFKA_PASSWORD."
        )
    if any(named) and not logs_in:
        raise SettingsError(
            "TRACK_KAFKA_USER or TRACK_KAFKA_PASSWORD is set, but TRACK_KAFKA_SECURITY is "
            f"{settings.kafka_security}, which has neither; set it to SASL_SSL."
        )
    if settings.kafka_ca:
        try:
            trusting(settings.kafka_ca)
        except (ssl.SSLError, ValueError) as error:
            raise SettingsError(
                f"TRACK_KAFKA_CA holds no certificate in PEM ({error}); TRACK_KAFKA_CA_FILE names "
                "a file that does."
            ) from None
