"""The servers' files are whole or not there, and are fetched once."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import downloads
from deploy.local.processes import ServerError


def fail_to_run(command: list[str], environment: dict[str, str], what: str) -> None:
    raise AssertionError(f"{what} was fetched again: {command}{environment.get('HOME')}")


def test_what_is_there_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_run", fail_to_run)
    (tmp_path / f"kafka-{downloads.KAFKA_VERSION}").mkdir()
    said: list[str] = []
    assert downloads.kafka_jars(said.append, tmp_path).is_dir()
    assert said == []


def test_a_jar_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_another(command: list[str], environment: dict[str, str], what: str) -> None:
        cache = Path(environment["HOME"]) / "cache"
        cache.mkdir()
        first = downloads.KAFKA_JARS.read_text().split()[1]
        (cache / first).write_bytes(b"not the jar")

    monkeypatch.setattr(downloads, "_run", fetch_another)
    with pytest.raises(ServerError, match="is not what was pinned"):
        downloads.kafka_jars(lambda line: None, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_set_up_that_was_killed_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f"clickhouse-{downloads.CLICKHOUSE_VERSION}.draft" / "whole"
    left.mkdir(parents=True)
    (left / "libchdb.so").write_bytes(b"half")

    def fetch(command: list[str], environment: dict[str, str], what: str) -> None:
        place = Path(command[command.index("--prefix") + 1])
        library = place / "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"
        library.parent.mkdir(parents=True)
        library.write_bytes(b"whole")

    monkeypatch.setattr(downloads, "_run", fetch)
    said: list[str] = []
    library = downloads.clickhouse_library(said.append, tmp_path)
    assert library.read_bytes() == b"whole"
    assert len(said) == 1
    assert not left.parent.exists()
