"""A stack of its own that has the five weeks of docs/sql.md, and the analyst who asks it.

In: a folder. Out: the stack, filled, and answers over HTTP and the native port. Never: a stack left
behind, data of anybody else.
"""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clickhouse_driver import Client as NativeClient

from cli.demo.weeks import make_spoiled
from cli.sql.answers import Format, write_answer
from cli.sql.run import as_analyst
from runtime.clickhouse import Client, connect_sync
from runtime.settings import Settings
from tests.benchmarks.programs import beside_python
from tests.running_stack import running_stack, stack_environment

_SENT_WITHIN_S = 300
_THROUGH_S = 30
_COUNT_REJECTED = "SELECT count() FROM rejected_events"


@dataclass(frozen=True, slots=True)
class Weeks:
    """The filled stack: its folder, its settings as the analyst has them, the native port."""

    home: Path
    settings: Settings
    native_port: int
    client: Client

    def answer(self, statement: str, form: Format = Format.TABLE) -> str:
        """Return what `track sql` writes."""
        out = io.BytesIO()
        write_answer(self.client, statement, form, out)
        return out.getvalue().decode()

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return the answer by HTTP, as rows."""
        rows: list[dict[str, Any]] = json.loads(self.answer(statement, Format.JSON))
        return rows

    def native(self) -> NativeClient:
        """Return a client of the native port, as the analyst."""
        url = urlsplit(self.settings.clickhouse)
        return NativeClient(
            "127.0.0.1",
            port=self.native_port,
            user=url.username,
            password=url.password,
            database=self.settings.namespace,
        )


@contextmanager
def filled_stack(folder: Path) -> Iterator[Weeks]:
    """Start a stack, send the five weeks by `track demo --weeks`, give it when all is through."""
    ports = stack_environment(folder)
    named = {name: value for name, value in ports.items() if name.endswith("_PORT")}
    with running_stack(folder, **named) as running:
        subprocess.run(
            [beside_python("track"), "demo", "--weeks"],
            env=ports,
            stdout=subprocess.DEVNULL,
            timeout=_SENT_WITHIN_S,
            check=True,
        )
        settings = as_analyst(Settings(home=running.home))
        client = connect_sync(settings)
        try:
            _wait_for_rejected(client)
            port = int(ports["TRACK_CLICKHOUSE_NATIVE_PORT"])
            yield Weeks(running.home, settings, port, client)
        finally:
            client.close()


def _wait_for_rejected(client: Client) -> None:
    wanted, deadline = len(make_spoiled()), time.monotonic() + _THROUGH_S
    while client.query(_COUNT_REJECTED).first_row[0] != wanted:
        assert time.monotonic() < deadline, "the rejected records do not arrive"
        time.sleep(0.1)
