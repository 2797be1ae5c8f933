from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from runtime.settings import Settings, SettingsError


def test_without_variables_every_setting_has_its_default() -> None:
    assert Settings.from_environment({}) == Settings()


def test_values_come_from_the_environment() -> None:
    settings = Settings.from_environment({"TRACK_PORT": "8123", "TRACK_NAMESPACE": "shop"})
    assert (settings.port, settings.namespace) == (8123, "shop")


def test_an_empty_variable_is_an_absent_one() -> None:
    assert Settings.from_environment({"TRACK_PORT": " ", "TRACK_PORT_FILE": ""}) == Settings()


def test_a_value_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "clickhouse"
    secret.write_text("http://track:pässword@clickhouse:8123\n")
    settings = Settings.from_environment({"TRACK_CLICKHOUSE_FILE": str(secret)})
    assert settings.clickhouse == "http://track:pässword@clickhouse:8123"


def test_a_number_in_a_file_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9001\n")
    assert Settings.from_environment({"TRACK_PORT_FILE": str(tmp_path / "port")}).port == 9001


def test_a_value_and_a_file_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TRACK_KAFKA and TRACK_KAFKA_FILE are both set"):
        Settings.from_environment({"TRACK_KAFKA": "a:1", "TRACK_KAFKA_FILE": str(tmp_path)})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    with pytest.raises(SettingsError, match=f"TRACK_CLICKHOUSE_FILE names {missing}"):
        Settings.from_environment({"TRACK_CLICKHOUSE_FILE": missing})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TRACK_PORT", "eighty", "must be a whole number"),
        ("TRACK_PORT", "-1", "must be a whole number"),
        ("TRACK_PORT", "9" * 5000, "at most 18 digits"),
        ("TRACK_PORT", "0", "a port is 1 to 65535"),
        ("TRACK_PORT", "65536", "a port is 1 to 65535"),
        ("TRACK_PARTITIONS", "0", "must be at least 1"),
        ("TRACK_NAMESPACE", "a-b", "letters, digits or underscores"),
        ("TRACK_PROXIES", "proxy.example", "no address and no network"),
        ("TRACK_OPEN", "true", "must be yes or no"),
        ("TRACK_RATE_PER_KEY", "-1", "must be a whole number"),
        ("TRACK_RATE_BURST_S", "0", "must be 1 to 3600"),
        ("TRACK_RATE_BURST_S", "3601", "must be 1 to 3600"),
        ("TRACK_OPENS", "stop", "must differ"),
        ("TRACK_USER_COUNTS_MONTHS", "1", "TRACK_EVENTS_DAYS is 30"),
        ("TRACK_EVENTS_DAYS", "701", "TRACK_USER_COUNTS_MONTHS is 25"),
        ("TRACK_EVENTS_DAYS", "0", "0 = for ever"),
        ("TRACK_CLICKHOUSE", "http://u:secret/x@127.0.0.1:8123", "percent-encode"),
        ("TRACK_CLICKHOUSE", "http://u:secret#x@127.0.0.1:8123", "percent-encode"),
        ("TRACK_CLICKHOUSE", "http://u:secret@[::1:8123", "is no URL"),
        ("TRACK_CLICKHOUSE", "u:secret@127.0.0.1:8123", "is no URL"),
        ("TRACK_CLICKHOUSE", "ftp://u:secret@127.0.0.1", "is no URL"),
        ("TRACK_KAFKA_SECURITY", "TLS", "must be one of PLAINTEXT, SSL, SASL_SSL"),
        ("TRACK_KAFKA_SECURITY", "SSL", "the local Kafka is plain"),
        ("TRACK_KAFKA_USER", "ada", "set it to SASL_SSL"),
        ("TRACK_KAFKA_PASSWORD", "secret", "set it to SASL_SSL"),
        ("TRACK_KAFKA_CA", "nonsense", "holds no certificate"),
        ("TRACK_TLS_CERTIFICATE", "site.pem", "set both of them or neither"),
        ("TRACK_TLS_KEY", "site.key", "set both of them or neither"),
        ("TRACK_PROXIES", "10.0.0.1,proxy", "'proxy' is no address and no network"),
        ("TRACK_PLAIN_HTTP", "true", "must be yes or no"),
        ("TRACK_ANALYST_ROWS", "0", "must be at least 1"),
        ("TRACK_ANALYST_SECONDS", "-1", "must be a whole number"),
        ("TRACK_IN_FLIGHT_BYTES", "65535", "at least 65536"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_environment({name: value})
    assert name in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("missing", ["TRACK_KAFKA_USER", "TRACK_KAFKA_PASSWORD"])
def test_a_user_at_kafka_has_a_name_and_a_password(missing: str) -> None:
    whole = {
        "TRACK_KAFKA": "kafka:9094",
        "TRACK_KAFKA_SECURITY": "SASL_SSL",
        "TRACK_KAFKA_USER": "ada",
        "TRACK_KAFKA_PASSWORD": "secret",
    }
    assert Settings.from_environment(whole).kafka_servers.user == "ada"
    with pytest.raises(SettingsError, match="needs TRACK_KAFKA_USER and TRACK_KAFKA_PASSWORD"):
        Settings.from_environment({**whole, missing: ""})


def test_no_password_is_printed_with_the_settings() -> None:
    settings = Settings.from_environment(
        {
            "TRACK_KAFKA": "kafka:9094",
            "TRACK_KAFKA_SECURITY": "SASL_SSL",
            "TRACK_KAFKA_USER": "ada",
            "TRACK_KAFKA_PASSWORD": "secret-1",
            "TRACK_CLICKHOUSE": "http://track:secret-2@127.0.0.1",
        }
    )
    printed = f"{settings} {settings!r} {settings.kafka_servers} {settings.kafka_servers!r}"
    assert "secret" not in printed


def test_every_setting_has_a_variable_of_its_own_and_says_what_it_is() -> None:
    names = [each.metadata["name"] for each in fields(Settings)]
    assert len(set(names)) == len(names)
    assert all(name.startswith("TRACK_") for name in names)
    assert all(each.metadata["about"] for each in fields(Settings))
