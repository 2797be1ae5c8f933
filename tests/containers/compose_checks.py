"""The Compose file, brought up once: an event goes all the way through the TLS proxy.

In: the images, which are there, and the command of Compose in TRACK_TEST_COMPOSE. Never: an
installation of somebody's; the run has a name, ports, secrets and volumes of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import resource
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from deploy.local.machine import free_port

_TREE = Path(__file__).parents[2]
_UP_WITHIN_S = 400
_COUNTED_WITHIN_S = 60
_SERVICES = ("ingest", "sessionizer", "writer", "query")
_PORTS = ("TLS_PORT", "KAFKA_PORT", "CLICKHOUSE_PORT", "CLICKHOUSE_NATIVE_PORT")

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, slots=True)
class Installation:
    """One that runs: how Compose is called, its proxy's authority, a key that may do both."""

    command: tuple[str, ...]
    environment: dict[str, str]
    authority: Path
    key: str

    @property
    def url(self) -> str:
        """The one base URL."""
        return f"https://localhost:{self.environment['TLS_PORT']}"

    def compose(self, *arguments: str, within_s: float = 120) -> str:
        """Run a command of Compose; return what it prints."""
        return _compose(self.command, self.environment, *arguments, within_s=within_s)

    def request(self, path: str, body: bytes | None = None) -> Any:
        """Return the JSON of the answer to a request."""
        return json.loads(self.fetch(path, body))

    def fetch(self, path: str, body: bytes | None = None) -> bytes:
        """Return the answer to a request through the proxy, its certificate checked."""
        context = create_default_context(cafile=str(self.authority))
        headers = {"Authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return bytes(answer.read())


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("compose")
    ignore = shutil.ignore_patterns("secrets", "certificates", "__pycache__")
    shutil.copytree(_TREE / "deploy", folder / "deploy", ignore=ignore)
    subprocess.run(["sh", str(folder / "deploy/compose/make-secrets")], check=True)
    name = f"track-test-{secrets.token_hex(4)}"
    program = os.environ["TRACK_TEST_COMPOSE"].split()
    file = folder / "deploy" / "compose.yaml"
    (folder / "limits.yaml").write_text(yaml.safe_dump(_within_limits(file)))
    command = (*program, "-p", name, "-f", str(file), "-f", str(folder / "limits.yaml"))
    environment = {**os.environ, **{each: str(free_port()) for each in _PORTS}}
    scopes = ("--scope", "write", "--scope", "read")
    said = _compose(command, environment, "run", "--rm", "keys", "new", "first", *scopes)
    key = next(word for word in said.split() if word.startswith("track_"))
    running = Installation(command, environment, folder / "root.crt", key)
    try:
        running.compose("up", "--detach", "--wait", "--no-build", within_s=_UP_WITHIN_S)
        root = "proxy:/data/caddy/pki/authorities/local/root.crt"
        running.compose("cp", root, str(running.authority))
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout", "5")


def test_every_example_has_its_answer_through_the_proxy(installation: Installation) -> None:
    done = subprocess.run(
        [str(_TREE / "examples.sh"), installation.url],
        env={
            **installation.environment,
            "CURL_CA_BUNDLE": str(installation.authority),
            "TRACK_KEY": installation.key,
        },
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_the_page_of_the_api_is_there(installation: Installation) -> None:
    assert b"swagger-ui-bundle.js" in installation.fetch("/docs")
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
        assert len(installation.fetch(f"/docs/{name}")) > 300, name
    assert installation.request("/openapi.json")["openapi"] == "3.1.0"


def test_without_a_key_nobody_comes_in(installation: Installation) -> None:
    stranger = dataclasses.replace(installation, key="track_none")
    for path, body in (("/track", b"{}"), ("/metrics", None)):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            stranger.request(path, body)


def test_an_event_is_counted_after_each_service_was_killed(installation: Installation) -> None:
    for number, service in enumerate(_SERVICES, start=1):
        kill = "import os; os.kill(-1, 9)"
        # The killed service takes the command that killed it along, or not.
        command = [*installation.command, "exec", "-T", service, "python", "-c", kill]
        subprocess.run(
            command, env=installation.environment, capture_output=True, timeout=60, check=False
        )
        _send(installation, f"killed-{number}")
        _wait_for(installation, "killed", number)


def test_a_producer_on_the_host_reaches_kafka(installation: Installation) -> None:
    asyncio.run(_produce(installation.environment["KAFKA_PORT"]))
    _wait_for(installation, "produced", 1)


def test_topics_and_tables_agree(installation: Installation) -> None:
    installation.compose("run", "--rm", "--no-deps", "migrate", "verify")


def _compose(
    command: Sequence[str], environment: Mapping[str, str], *arguments: str, within_s: float = 120
) -> str:
    """Run a command of Compose; return what it prints. What fails is told with the last logs."""
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True,
        timeout=within_s, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        logs = [*command, "logs", "--no-color", "--tail", "5"]
        said = subprocess.run(logs, env=environment, capture_output=True, text=True, check=False)
        pytest.fail(f"{arguments}: {done.stderr[-1000:]}\n{said.stdout[-4000:]}")
    return done.stdout


def _within_limits(file: Path) -> dict[str, Any]:
    """Return what to change so that no service asks for more open files than may be had here."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    changed = {
        name: {"ulimits": {"nofile": most}}
        for name, service in yaml.safe_load(file.read_text())["services"].items()
        if service.get("ulimits", {}).get("nofile", 0) > most
    }
    if changed:
        print(f"{', '.join(changed)}: only {most} open files may be had here")
    return {"services": changed}


async def _produce(port: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{port}") as producer:
        value = b'{"event":"produced","user_id":"compose","timestamp":"2024-05-01T10:00:00Z"}'
        await producer.send_and_wait("track.events", value, key=b"compose")


def _send(installation: Installation, event_id: str) -> None:
    """Send an event until it is taken, as a client does."""
    event = {
        "event": "killed",
        "user_id": "compose",
        "timestamp": "2024-05-01T10:00:00Z",
        "event_id": event_id,
    }
    deadline = time.monotonic() + _COUNTED_WITHIN_S
    while True:
        try:
            installation.request("/track", json.dumps(event).encode())
            return
        except OSError:  # a refusal of the proxy's is one, too
            assert time.monotonic() < deadline
            time.sleep(0.5)


def _wait_for(installation: Installation, name: str, expected: int) -> None:
    question = "/metrics?start_date=2024-05-01&end_date=2024-05-01&user_id=compose"
    deadline = time.monotonic() + _COUNTED_WITHIN_S
    counted = 0
    while counted != expected:
        assert counted < expected
        assert time.monotonic() < deadline, f"{name}: {counted} of {expected}"
        time.sleep(0.5)
        try:
            periods = installation.request(question)["data"]
        except OSError:
            continue
        counted = periods[0].get(name, 0) if periods else 0
